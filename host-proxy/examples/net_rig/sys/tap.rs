//! A TAP device that speaks virtio-net's header, so that its frames are what a guest's driver sends and takes: with checksums
//! left undone, and with rows of TCP segments as one frame. Numbers from Linux's `include/uapi/linux/if_tun.h`. Called by
//! `main`.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::OwnedFd;

use lighter_vmm::virtio::net::header;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use tokio::io::unix::AsyncFd;

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<c_int>(b'T', 208);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<c_int>(b'T', 216);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const TUN_F_CSUM: usize = 1;
const TUN_F_TSO4: usize = 2;
const TUN_F_TSO6: usize = 4;
/// `IFNAMSIZ`.
const NAME: usize = 16;

/// `struct ifreq`.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the device `name` in the calling thread's network namespace. It goes when the descriptor is closed; reads and
/// writes do not block.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let tap = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    let mut request = Request { name: [0; NAME], flags, rest: [0; 22] };
    // The last byte stays zero.
    let room = request.name[..NAME - 1].get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads and writes one `struct ifreq` (40 bytes), which `Request` is.
    unsafe { ioctl(&tap, Updater::<TUNSETIFF, Request>::new(&mut request)) }?;
    // SAFETY: the kernel reads one int.
    unsafe { ioctl(&tap, Setter::<TUNSETVNETHDRSZ, c_int>::new(header::LENGTH as c_int)) }?;
    // SAFETY: the argument is a set of flags, not an address.
    unsafe { ioctl(&tap, IntegerSetter::<TUNSETOFFLOAD>::new_usize(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) }?;
    Ok(tap)
}

/// The device, for a task that waits for its frames. Called inside a tokio runtime.
pub fn watched(tap: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same one for as long as it lives.
    Ok(unsafe { AsyncFd::register(tap) }?)
}
