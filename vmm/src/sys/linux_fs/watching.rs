//! Reports of changes by `inotify`: one watch for each folder, on the folder itself and not on a path.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Node, Outcome, errno, kinds};
use crate::virtio::fs::watching::{Begun, News, Seen, Sight, Watching};

/// What is reported. Of what is opened and read nobody needs to hear.
const WANTED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);
/// Bytes of reports read at once.
const BUFFER: usize = 16 << 10;

/// One queue of reports.
pub(super) struct Inotify {
    queue: OwnedFd,
    /// Readable from the moment of the wish to stop.
    stop: OwnedFd,
}

impl Inotify {
    pub(super) fn new() -> Outcome<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(errno)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(errno)?;
        Ok(Self { queue, stop })
    }
}

impl Watching<Node> for Inotify {
    fn add(&self, folder: &Node) -> Outcome<Begun> {
        let all = kinds::reports_all(kinds::of(&folder.0));
        // The kernel's numbers are positive.
        let watch = inotify::add_watch(&self.queue, folder.path(), WANTED).map_err(errno)? as u64;
        Ok(Begun { watch, all })
    }

    fn remove(&self, watch: u64) {
        // Gone already, if the folder is.
        let _ = inotify::remove_watch(&self.queue, watch as i32);
    }

    fn next(&self, most: Option<Duration>) -> Outcome<News> {
        let mut both = [PollFd::new(&self.queue, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        let most =
            most.map(|most| Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: most.subsec_nanos().into() });
        match poll(&mut both, most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(other) => return Err(errno(other)),
        }
        if !both[1].revents().is_empty() {
            return Ok(News::default());
        }
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut news = News::default();
        loop {
            match reader.next() {
                Ok(event) => {
                    news.lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    let sight = sight(event.events(), event.cookie());
                    if let (Some(name), Some(sight)) = (name, sight) {
                        let is_folder = event.events().contains(ReadFlags::ISDIR);
                        news.seen.push(Seen { watch: event.wd() as u64, name, sight, is_folder });
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(news),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Err(errno(other)),
            }
            // What is reported meanwhile comes with the next call; a guest's flood must not keep this one for ever.
            if news.seen.len() >= 512 && reader.is_buffer_empty() {
                return Ok(news);
            }
        }
    }

    fn wake(&self) {
        // Fails only if it is readable already.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

fn sight(events: ReadFlags, cookie: u32) -> Option<Sight> {
    let is = |flag| events.contains(flag);
    if is(ReadFlags::CREATE) {
        Some(Sight::Made)
    } else if is(ReadFlags::DELETE) {
        Some(Sight::Removed)
    } else if is(ReadFlags::MOVED_FROM) {
        Some(Sight::MovedFrom(cookie))
    } else if is(ReadFlags::MOVED_TO) {
        Some(Sight::MovedTo(cookie))
    } else if is(ReadFlags::MODIFY) {
        Some(Sight::Content)
    } else if is(ReadFlags::ATTRIB) {
        Some(Sight::Attributes)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_the_host_had_no_room_for_are_told_as_lost() {
        let most: usize =
            std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        if most > 100_000 {
            println!("skipped: this host keeps {most} reports");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let reports = Inotify::new().unwrap();
        let folder = crate::sys::NativeFs::default();
        let held = crate::virtio::fs::host::HostFs::root(&folder, place.path()).unwrap();
        let watch = reports.add(&held).unwrap().watch;
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        std::fs::write(&one, "").unwrap();
        for _ in 0..=most / 4 {
            std::fs::rename(&one, &other).unwrap();
            std::fs::rename(&other, &one).unwrap();
        }
        let mut seen = 0;
        loop {
            let news = reports.next(Some(Duration::from_secs(20))).unwrap();
            seen += news.seen.len();
            assert!(news.seen.iter().all(|seen| seen.watch == watch));
            if news.lost {
                break;
            }
            assert!(!news.seen.is_empty(), "nothing was lost");
        }
        assert_eq!(seen, most);
    }
}
