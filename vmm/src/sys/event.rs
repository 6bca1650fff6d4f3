//! Waiting in a task for an event descriptor. Called by the vhost-user transport.
// Unsafe because tokio cannot know that a descriptor stays the same as long as it is registered.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `descriptor` for reading with the current tokio runtime. Fails for what cannot be polled, such as a plain file.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always answers the same number, and can be neither closed nor replaced while the AsyncFd
    // owns it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}
