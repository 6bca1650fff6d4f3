//! Three ways to ask the kernel for a vsock connection: the plain calls, the 32-bit `socketcall` that a 64-bit program reaches
//! through `int 0x80`, and io_uring. Filters of system calls look at the first and have missed the others. Called by the
//! program, in a container. Each try is a child of its own, because the second one may be killed for it.
//!
//! Each way is first tried on a listener of this program, which shows whether the way works at all:
//! ```text
//! control WAY RESULT
//! vsock WAY CID PORT RESULT
//! ```
//! where RESULT is `connected`, `errno N`, or `signal N`; a kernel without 32-bit calls sends signal 11 for the second way.
#![allow(unsafe_code)]

mod compat;
mod ring;

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};

use libc::c_int;

/// Context ids: the hypervisor, the guest itself in two ways, the host, and one that nobody has.
const CIDS: std::ops::RangeInclusive<u32> = 0..=4;
/// Seconds after which a try is given up, by SIGALRM; the kernel gives a vsock connect two.
const PATIENCE: u32 = 20;

/// A family and an address of it as the kernel takes it.
struct Place {
    family: c_int,
    address: [u8; 16],
}

/// Connects a stream socket that it makes; an errno if that fails.
type Way = fn(&Place) -> Result<(), c_int>;

const WAYS: [(&str, Way); 3] = [("socket", plain), ("socketcall", compat::connect), ("io_uring", ring::connect)];

/// Tries all ways to these ports of every context id, and prints what came of each.
///
/// # Errors
/// When there is no loopback to listen on, or no child can be made.
pub fn run(ports: &[u32]) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = Place::loopback(listener.local_addr()?.port());
    for (name, way) in WAYS {
        let result = in_a_child(way, &own)?;
        writeln!(io::stdout(), "control {name} {result}")?;
        for cid in CIDS {
            for &port in ports {
                let result = in_a_child(way, &Place::vsock(cid, port))?;
                writeln!(io::stdout(), "vsock {name} {cid} {port} {result}")?;
            }
        }
    }
    Ok(())
}

impl Place {
    /// `struct sockaddr_in`.
    fn loopback(port: u16) -> Self {
        let mut address = [0; 16];
        address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&port.to_be_bytes());
        address[4..8].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        Self { family: libc::AF_INET, address }
    }

    /// `struct sockaddr_vm` (linux/vm_sockets.h).
    fn vsock(cid: u32, port: u32) -> Self {
        let mut address = [0; 16];
        address[..2].copy_from_slice(&(libc::AF_VSOCK as u16).to_ne_bytes());
        address[4..8].copy_from_slice(&port.to_ne_bytes());
        address[8..12].copy_from_slice(&cid.to_ne_bytes());
        Self { family: libc::AF_VSOCK, address }
    }
}

fn in_a_child(way: Way, place: &Place) -> io::Result<String> {
    // SAFETY: this program has one thread, so the child may do whatever its parent could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: it sets a timer of this child.
            unsafe { libc::alarm(PATIENCE) };
            let code = way(place).err().unwrap_or(0);
            // SAFETY: it ends this child, without anything that the parent has still to do.
            unsafe { libc::_exit(code) }
        }
        child => ended(child),
    }
}

fn ended(child: libc::pid_t) -> io::Result<String> {
    let mut status = 0;
    // SAFETY: the status is a live integer.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return Err(io::Error::last_os_error());
    }
    Ok(match (libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)) {
        (true, _) => format!("signal {}", libc::WTERMSIG(status)),
        (false, 0) => "connected".to_owned(),
        (false, errno) => format!("errno {errno}"),
    })
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// `socket` and `connect`.
fn plain(place: &Place) -> Result<(), c_int> {
    // SAFETY: it takes numbers only.
    let socket = unsafe { libc::socket(place.family, libc::SOCK_STREAM, 0) };
    if socket < 0 {
        return Err(errno());
    }
    let length = place.address.len() as libc::socklen_t;
    // SAFETY: the address is live and as long as said.
    if unsafe { libc::connect(socket, place.address.as_ptr().cast(), length) } < 0 {
        return Err(errno());
    }
    Ok(())
}
