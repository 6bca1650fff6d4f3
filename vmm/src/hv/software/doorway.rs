//! A socket that QEMU connects to, for the one kind of device that it will not serve over an inherited one. It is bound in
//! the machine's own directory, found through an inherited descriptor of the place, and has no name any more when QEMU
//! starts. Called by `wiring`.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, OFlags, open, openat, unlinkat};

/// The socket's name for the moment that it has one.
const NAME: &str = "device.sock";

/// A listening socket without a name.
pub struct Doorway {
    /// Accepts QEMU.
    pub listener: UnixListener,
    /// Whoever has this may connect, by `/proc/self/fd/N`.
    pub place: OwnedFd,
}

impl Doorway {
    /// Makes one by way of `directory`.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // Left by a machine that was killed in between; the directory is this machine's alone.
        let _none_there = unlinkat(&directory, NAME, AtFlags::empty());
        // Through the descriptor, because a socket's path may only be 107 bytes long.
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))?;
        let place = openat(&directory, NAME, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        unlinkat(&directory, NAME, AtFlags::empty())?;
        Ok(Self { listener, place: place? })
    }

    /// Waits for QEMU to connect, or to end: then `life`, whose other end it holds, is closed.
    pub fn enter(listener: &UnixListener, life: &UnixStream) -> io::Result<UnixStream> {
        loop {
            let mut events = [PollFd::new(listener, PollFlags::IN), PollFd::new(life, PollFlags::IN)];
            match poll(&mut events, None) {
                Err(error) if io::Error::from(error).kind() == ErrorKind::Interrupted => continue,
                result => result?,
            };
            if !events[0].revents().is_empty() {
                return listener.accept().map(|(stream, _)| stream);
            }
            if !events[1].revents().is_empty() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn it_is_entered_through_its_descriptor_and_leaves_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let doorway = Doorway::open(&long).unwrap();
        assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
        let (life, _theirs) = UnixStream::pair().unwrap();
        let mut visitor = UnixStream::connect(format!("/proc/self/fd/{}", doorway.place.as_raw_fd())).unwrap();
        visitor.write_all(b"x").unwrap();
        let mut byte = [0];
        Doorway::enter(&doorway.listener, &life).unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_child_that_ends_first_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let doorway = Doorway::open(directory.path()).unwrap();
        let (life, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let ended = Doorway::enter(&doorway.listener, &life).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionAborted);
    }
}
