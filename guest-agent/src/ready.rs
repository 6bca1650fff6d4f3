//! Waits for a file descriptor with a deadline. Called wherever the agent waits for bytes: no wait is without an end.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until `fd` is ready for `flags` (or has failed or hung up): `false` when the deadline passed first.
pub fn wait(fd: impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<bool> {
    // A peer that always has one more byte must not outrun the deadline.
    if Instant::now() >= deadline {
        return Ok(false);
    }
    let fd = fd.as_fd();
    wait_any(&mut [PollFd::new(&fd, flags)], Some(deadline))
}

/// Waits until one of `fds` is ready: `false` when the deadline passed first. Without a deadline some peer must own the end.
pub fn wait_any(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match poll(fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().min(1 << 31) as i64, tv_nsec: duration.subsec_nanos().into() }
}
