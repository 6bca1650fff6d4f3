//! AF_VSOCK stream sockets (linux/vm_sockets.h): dial the host, listen for the host. Called by `host` and `accept`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketFlags, SocketType};

/// `VMADDR_CID_ANY`.
const ANY_CID: u32 = u32::MAX;

/// `struct sockaddr_vm`.
#[repr(C)]
#[derive(Clone, Copy)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

impl VsockAddress {
    fn new(cid: u32, port: u32) -> Self {
        Self { family: AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, flags: 0, zero: [0; 3] }
    }
}

// SAFETY: the pointer is to a live `sockaddr_vm` of exactly the given length.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Connects to `port` of the machine `cid`. The kernel gives up by itself after 2 s.
pub fn dial(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let socket = socket()?;
    net::connect(&socket, &VsockAddress::new(cid, port))?;
    Ok(socket)
}

/// Listens on `port` of this machine.
pub fn listen(port: u32) -> io::Result<OwnedFd> {
    let socket = socket()?;
    net::bind(&socket, &VsockAddress::new(ANY_CID, port))?;
    net::listen(&socket, 256)?;
    Ok(socket)
}

/// The next connection and the context id of its peer; `None` if the peer has no vsock address.
pub fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Option<u32>)> {
    let (connection, peer) = net::acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
    Ok((connection, peer.as_ref().and_then(cid)))
}

fn cid(peer: &SocketAddrAny) -> Option<u32> {
    let fits = peer.addr_len() as usize >= size_of::<VsockAddress>();
    if peer.address_family() != AddressFamily::VSOCK || !fits {
        return None;
    }
    // SAFETY: the kernel wrote at least a whole `sockaddr_vm` there, and every bit pattern is valid for its integers.
    let address = unsafe { peer.as_ptr().cast::<VsockAddress>().read_unaligned() };
    Some(address.cid)
}
