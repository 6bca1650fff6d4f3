//! Calls with arguments that safe interfaces do not take: lengths below zero.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

/// `truncate(2)` of a path without NUL.
pub fn truncate(path: &str, len: i64) -> rustix::io::Result<()> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path ends with a NUL and is alive.
    outcome(unsafe { libc::truncate(path.as_ptr(), len) })
}

/// `ftruncate(2)`
pub fn ftruncate(file: &OwnedFd, len: i64) -> rustix::io::Result<()> {
    // SAFETY: takes plain numbers.
    outcome(unsafe { libc::ftruncate(file.as_raw_fd(), len) })
}

/// `fallocate(2)`
pub fn fallocate(file: &OwnedFd, mode: i32, offset: i64, len: i64) -> rustix::io::Result<()> {
    // SAFETY: takes plain numbers.
    outcome(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })
}

fn outcome(result: i32) -> rustix::io::Result<()> {
    let error = || Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    if result == 0 { Ok(()) } else { Err(error()) }
}
