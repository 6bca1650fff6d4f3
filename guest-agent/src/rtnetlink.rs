//! Requests to the kernel about interfaces, addresses and routes (rtnetlink(7)): each is one message and one acknowledgement.
//! Called by `network`.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use crate::ready;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
/// Make it, and take one's place that is there already.
const NLM_F_REPLACE_CREATE: u16 = 0x100 | 0x400;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: nobody else is on the link, and an address that is being tested cannot be used.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open conversation with the kernel.
pub struct Rtnetlink(OwnedFd);

impl Rtnetlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sets interface `index` up, with `mtu` if there is one.
    pub fn up(&self, index: u32, mtu: Option<u16>) -> io::Result<()> {
        self.ask(&link_up(index, mtu))
    }

    /// Gives interface `index` an address.
    pub fn address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        self.ask(&new_address(index, address, prefix))
    }

    /// Sends everything of the gateway's family that has no other route to it, through interface `index`.
    pub fn default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        self.ask(&default_route(index, gateway))
    }

    fn ask(&self, request: &[u8]) -> io::Result<()> {
        send(&self.0, request, SendFlags::empty())?;
        if !ready::wait(&self.0, PollFlags::IN, Instant::now() + PATIENCE)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "kernel did not answer"));
        }
        let mut answer = [0; 1024];
        let (length, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        verdict(&answer[..length.min(1024)])
    }
}

/// `struct nlmsghdr` around a body; sequence and port stay 0, because there is one request at a time.
fn message(kind: u16, flags: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes.extend_from_slice(body);
    for (kind, value) in attributes {
        bytes.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST_ACK | flags).to_ne_bytes());
    bytes
}

/// With `struct ifinfomsg`: family, padding and type, then index, flags, and the flags to change.
fn link_up(index: u32, mtu: Option<u16>) -> Vec<u8> {
    let body = [[0; 4], index.to_ne_bytes(), IFF_UP.to_ne_bytes(), IFF_UP.to_ne_bytes()].concat();
    let mtu = mtu.map(|mtu| u32::from(mtu).to_ne_bytes());
    let attributes: Vec<(u16, &[u8])> = mtu.iter().map(|mtu| (IFLA_MTU, &mtu[..])).collect();
    message(RTM_NEWLINK, 0, &body, &attributes)
}

/// With `struct ifaddrmsg`: family, prefix, flags, scope, index.
fn new_address(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    let body = [[family(address), prefix, flags, 0], index.to_ne_bytes()].concat();
    let bytes = octets(address);
    message(RTM_NEWADDR, NLM_F_REPLACE_CREATE, &body, &[(IFA_LOCAL, &bytes), (IFA_ADDRESS, &bytes)])
}

/// With `struct rtmsg`: family, prefixes of destination and source, type of service, table, protocol, scope, type, flags.
fn default_route(index: u32, gateway: IpAddr) -> Vec<u8> {
    let body = [family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0];
    let attributes: [(u16, &[u8]); 2] = [(RTA_GATEWAY, &octets(gateway)), (RTA_OIF, &index.to_ne_bytes())];
    message(RTM_NEWROUTE, NLM_F_REPLACE_CREATE, &body, &attributes)
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    family.as_raw() as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_laid_out_as_the_kernel_reads_them() {
        let link = link_up(2, Some(65_520));
        assert_eq!(link.len(), 16 + 16 + 8);
        assert_eq!(link[..4], 40_u32.to_ne_bytes());
        assert_eq!(link[20..24], 2_u32.to_ne_bytes());
        assert_eq!(link[32..40], [8_u16.to_ne_bytes(), 4_u16.to_ne_bytes(), [0xf0, 0xff], [0, 0]].concat());
        let address = new_address(2, "fd00::2".parse().unwrap(), 64);
        assert_eq!(address[16..20], [10, 64, IFA_F_NODAD, 0]);
        assert_eq!(address.len(), 16 + 8 + 20 + 20);
        let route = default_route(2, "192.168.127.1".parse().unwrap());
        assert_eq!(route[28..36], [[8, 0], [5, 0], [192, 168], [127, 1]].concat());
        assert_eq!(route.len(), 16 + 12 + 8 + 8);
    }

    #[test]
    fn an_answer_that_is_no_acknowledgement_is_an_error() {
        let answer = |kind: u16, errno: i32| {
            let mut bytes = vec![0; 20];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..].copy_from_slice(&errno.to_ne_bytes());
            bytes
        };
        assert!(verdict(&answer(2, 0)).is_ok());
        assert_eq!(verdict(&answer(2, -17)).unwrap_err().raw_os_error(), Some(17));
        assert!(verdict(&answer(2, i32::MIN)).is_err() && verdict(&answer(3, 0)).is_err() && verdict(&[]).is_err());
    }
}
