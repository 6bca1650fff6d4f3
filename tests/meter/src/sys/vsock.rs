//! A round trip over vsock and nothing else: from the guest, a connection to a port of the host that nobody may open is asked
//! for and refused by the device itself. No program takes part, so it is what the transport alone costs. Called by the
//! program, in a container without a seccomp filter.
#![allow(unsafe_code)]

use std::io;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

/// The host's context id.
const HOST: u32 = 2;
/// A port that the host never opens to guests.
const CLOSED: u32 = 9;

/// `struct sockaddr_vm` (linux/vm_sockets.h).
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

// SAFETY: the pointer is to a live `sockaddr_vm` of exactly the given length.
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

/// Nanoseconds of each of `count` refused connections.
///
/// # Errors
/// When there is no vsock here, or the host does anything but refuse.
pub fn refused(count: usize) -> io::Result<Vec<u64>> {
    let family = AddressFamily::VSOCK;
    let host = Address { family: family.as_raw(), reserved: 0, port: CLOSED, cid: HOST, flags: 0, zero: [0; 3] };
    (0..count)
        .map(|_| {
            let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            let started = Instant::now();
            match net::connect(&socket, &host) {
                Err(Errno::CONNRESET | Errno::CONNREFUSED) => {}
                Err(errno) => return Err(errno.into()),
                Ok(()) => return Err(io::Error::other("the host opened a port that is not listed")),
            }
            Ok(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
        })
        .collect()
}
