//! The signals that ask a process to end, as a descriptor that can be waited for beside others. Called by `docker_proxy`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// Holds SIGINT and SIGTERM back in this thread, and in threads that it starts later; the descriptor becomes readable when one
/// of them has come.
pub fn requests_to_end() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set that the pointer leads to; the others only read and change it after that, and
    // `sigprocmask` takes null for the old mask that nobody wants.
    let masked = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut())
    };
    if masked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set is initialised, and -1 asks for a new descriptor.
    let descriptor = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
