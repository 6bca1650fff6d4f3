//! Record locks of `fcntl`, on ranges of a file.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

/// What to do with a range.
#[derive(Debug, Clone, Copy)]
pub enum Lock {
    /// `F_RDLCK`
    Shared,
    /// `F_WRLCK`
    Exclusive,
    /// `F_UNLCK`
    None,
}

fn range(lock: Lock, start: i64, len: i64) -> libc::flock {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::None => libc::F_UNLCK,
    };
    // SAFETY: a structure of numbers, for which zeroes are values.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as i16;
    range.l_whence = libc::SEEK_SET as i16;
    range.l_start = start;
    range.l_len = len;
    range
}

/// Sets or takes away a lock on `len` bytes from `start` on (0: to the end), without waiting.
pub fn set(file: &OwnedFd, lock: Lock, start: i64, len: i64) -> rustix::io::Result<()> {
    let range = range(lock, start, len);
    // SAFETY: the structure is alive as long as the call reads it.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const range) };
    if done == 0 { Ok(()) } else { Err(last()) }
}

/// The process that keeps an exclusive lock on the range from being set; `None` if nobody does.
pub fn owner(file: &OwnedFd, start: i64, len: i64) -> rustix::io::Result<Option<i32>> {
    let mut range = range(Lock::Exclusive, start, len);
    // SAFETY: the structure is alive, and nobody else's, as long as the call writes it.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut range) };
    match done {
        0 => Ok((i32::from(range.l_type) != libc::F_UNLCK).then_some(range.l_pid)),
        _ => Err(last()),
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
