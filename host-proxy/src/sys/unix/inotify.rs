//! Tells when a file may have changed, by inotify. Called by `cli::logs`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// A watch over one file, until another takes its place, which is told too.
pub struct Changes(OwnedFd);

impl Changes {
    /// Begins to watch; what happens from here on is told by [`wait`](Self::wait).
    pub fn of(file: &Path) -> io::Result<Changes> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&events, file, WatchFlags::MODIFY)?;
        // Of its folder only new names: the guest's disk is written to there, too.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        inotify::add_watch(&events, folder, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        Ok(Changes(events))
    }

    /// Blocks until something has changed since the last call, at most so long; whether it has.
    pub fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout =
            Timespec { tv_sec: at_most.as_secs().min(1 << 31) as i64, tv_nsec: at_most.subsec_nanos().into() };
        let changed = match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => false,
            result => result? > 0,
        };
        let mut events = [0; 4096];
        while let Ok(1..) = rustix::io::read(&self.0, &mut events) {}
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_and_its_replacement_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        std::fs::write(&file, "a").unwrap();
        let changes = Changes::of(&file).unwrap();
        assert!(!changes.wait(Duration::ZERO).unwrap(), "nothing happened since");
        std::fs::write(&file, "ab").unwrap();
        assert!(changes.wait(Duration::MAX).unwrap());
        assert!(!changes.wait(Duration::ZERO).unwrap(), "told once");
        std::fs::write(dir.path().join("disk"), "").unwrap();
        assert!(changes.wait(Duration::MAX).unwrap(), "a new name");
        std::fs::write(dir.path().join("disk"), "busy").unwrap();
        assert!(!changes.wait(Duration::ZERO).unwrap(), "other files may be written to as much as they are");
        std::fs::rename(&file, dir.path().join("log.1")).unwrap();
        std::fs::write(&file, "new").unwrap();
        assert!(changes.wait(Duration::MAX).unwrap());
    }
}
