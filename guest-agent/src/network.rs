//! Brings the loopback interface up, by one netlink request (rtnetlink(7)). dockerd makes the other interfaces. Called by
//! `boot`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use crate::{paths, ready};

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFF_UP: u32 = 1;
/// The kernel gives the loopback interface number 1 in every network namespace.
const LOOPBACK: i32 = 1;

/// Sets the loopback interface up.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    send(&socket, &request(), SendFlags::empty())?;
    if !ready::wait(&socket, PollFlags::IN, Instant::now() + Duration::from_secs(5))? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "kernel did not answer"));
    }
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    verdict(&answer[..length])
}

/// `struct nlmsghdr` and `struct ifinfomsg`.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&32_u32.to_ne_bytes());
    bytes.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]); // sequence and port: one request, one answer
    bytes.extend_from_slice(&[0; 4]); // family, padding, type
    bytes.extend_from_slice(&LOOPBACK.to_ne_bytes());
    bytes.extend_from_slice(&IFF_UP.to_ne_bytes());
    bytes.extend_from_slice(&IFF_UP.to_ne_bytes()); // the flags to change
    bytes
}

/// `struct nlmsghdr`, then a negative errno or 0.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "kernel's answer is not an acknowledgement")),
    }
}

/// Writes the files behind `/etc/hostname` and `/etc/hosts`, which the read-only root has as links into [`paths::ETC`].
pub fn name_files(hostname: &str) -> io::Result<()> {
    let folder = Path::new(paths::ETC);
    fs::write(folder.join("hostname"), format!("{hostname}\n"))?;
    fs::write(folder.join("hosts"), format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}\n"))?;
    // Without a network there is no name server; dockerd gives containers what stands here.
    fs::write(folder.join("resolv.conf"), "")
}
