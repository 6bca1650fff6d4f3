//! Reports of changes by `inotify`: one watch for each folder, on the folder itself and not on a path.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Node, Outcome, errno};
use crate::virtio::fs::host::{Seen, Sight, Watching};

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
    fn add(&self, folder: &Node) -> Outcome<u64> {
        // The kernel's numbers are positive.
        inotify::add_watch(&self.queue, folder.path(), WANTED).map(|watch| watch as u64).map_err(errno)
    }

    fn remove(&self, watch: u64) {
        // Gone already, if the folder is.
        let _ = inotify::remove_watch(&self.queue, watch as i32);
    }

    fn next(&self) -> Outcome<Vec<Seen>> {
        let mut both = [PollFd::new(&self.queue, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(other) => return Err(errno(other)),
        }
        if !both[1].revents().is_empty() {
            return Ok(Vec::new());
        }
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    let sight = sight(event.events(), event.cookie());
                    if let (Some(name), Some(sight)) = (name, sight) {
                        let is_folder = event.events().contains(ReadFlags::ISDIR);
                        seen.push(Seen { watch: event.wd() as u64, name, sight, is_folder });
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(seen),
                Err(rustix::io::Errno::INTR) => {}
                Err(other) => return Err(errno(other)),
            }
            // What is reported meanwhile comes with the next call; a guest's flood must not keep this one for ever.
            if seen.len() >= 512 && reader.is_buffer_empty() {
                return Ok(seen);
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
