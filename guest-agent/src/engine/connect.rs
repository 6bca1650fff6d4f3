//! Waits until a program listens on its socket, by inotify, while the program lives. Called by `engine`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;

use crate::ready;

/// Waits until `path` takes a connection, and returns that: an error if `ended` becomes readable before, or at the deadline.
///
/// A socket that is bound but does not listen yet refuses. Both dockerd and containerd set the socket's mode after that, which
/// is an event too.
pub fn connects(path: &Path, ended: &OwnedFd, deadline: Instant) -> io::Result<UnixStream> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
    inotify::add_watch(&watch, folder, events)?;
    // Tried after the watch is set, so that nothing can happen in between.
    loop {
        match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            result => return result,
        }
        while_alive(&watch, PollFlags::IN, ended, deadline)?;
        let mut events = [0; 4096];
        // Which name it was does not matter: the loop tries.
        let _nothing_there = rustix::io::read(&watch, &mut events);
    }
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
