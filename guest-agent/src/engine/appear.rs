//! Waits until a file appears, by inotify, while the program that is to make it lives. Called by `engine`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;

use crate::ready;

/// Waits until `path` exists: an error if `ended` becomes readable before, or after `patience`.
pub fn appears(path: &Path, ended: &OwnedFd, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO)?;
    // Looked for after the watch is set, so that it cannot appear in between.
    while !path.try_exists()? {
        while_alive(&watch, PollFlags::IN, ended, deadline)?;
        let mut events = [0; 4096];
        // Which name it was does not matter: the loop looks.
        let _nothing_there = rustix::io::read(&watch, &mut events);
    }
    Ok(())
}

/// Waits until `fd` is ready for `flags`: an error if `ended` becomes readable before, or at the deadline.
pub fn while_alive(fd: impl AsFd, flags: PollFlags, ended: &OwnedFd, deadline: Instant) -> io::Result<()> {
    let fd = fd.as_fd();
    let mut fds = [PollFd::new(&fd, flags), PollFd::new(ended, PollFlags::IN)];
    if !ready::wait_any(&mut fds, Some(deadline))? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
    }
    if fds[1].revents().is_empty() { Ok(()) } else { Err(io::Error::other("it ended")) }
}
