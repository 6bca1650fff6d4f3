//! A packet of the guest: its frame, copied out of guest memory once, and where headers and payload are in it. Every length
//! is checked here, and only here, before anything else reads the bytes. Called by `router`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{checksum, policy};

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
/// Ethernet's number for IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// Ethernet's number for ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// Ethernet's number for IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// ICMP for IPv4.
pub const ICMP_V4: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6's fragment header.
const FRAGMENT: u8 = 44;
/// ICMP for IPv6.
pub const ICMP_V6: u8 = 58;

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Shorter than its headers say.
    #[error("it is shorter than its headers say")]
    Short,
    /// A version, length or hop limit that cannot be.
    #[error("its IP header makes no sense")]
    Header,
    /// IPv4 options, or IPv6 extension headers other than the fragment header.
    #[error("it carries IP options")]
    Options,
    /// A checksum that does not hold.
    #[error("its checksum is wrong")]
    Checksum,
    /// From an address that no container can have.
    #[error("its source address is none of a container")]
    Source,
}

/// One fragment's place in its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Which datagram, together with addresses and protocol.
    pub id: u32,
    /// In bytes.
    pub offset: usize,
    /// Whether others follow.
    pub more: bool,
}

/// A checked IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    frame: Vec<u8>,
    ip: Range<usize>,
    payload: Range<usize>,
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Set if this is only a part of a datagram.
    pub fragment: Option<Fragment>,
}

impl Packet {
    /// Reads the IP packet in an Ethernet frame of type `kind`. What is behind its end is padding.
    pub fn parse(frame: Vec<u8>, kind: u16) -> Result<Self, Bad> {
        let bytes = frame.get(ETHERNET..).ok_or(Bad::Short)?;
        let packet = match (kind, bytes.first().map(|first| first >> 4)) {
            (TYPE_IPV4, Some(4)) => parse_v4(bytes)?,
            (TYPE_IPV6, Some(6)) => parse_v6(bytes)?,
            _ => return Err(Bad::Header),
        };
        let packet = Self { frame, ..packet };
        // IPv6 neighbours speak from link-local addresses; `neighbours` has seen what concerns it already.
        if policy::is_plausible_source(packet.source) { Ok(packet) } else { Err(Bad::Source) }
    }

    /// A whole datagram, put together from fragments with the headers of `first`.
    pub fn whole(first: &Self, payload: &[u8]) -> Self {
        let mut frame = vec![0; ETHERNET];
        frame.extend_from_slice(&super::datagram::header(
            first.source,
            first.destination,
            first.protocol,
            payload.len(),
        ));
        let start = frame.len();
        frame.extend_from_slice(payload);
        let (ip, payload) = (ETHERNET..frame.len(), start..frame.len());
        Self { frame, ip, payload, fragment: None, ..*first }
    }

    /// From the IP header to the end.
    pub fn ip(&self) -> &[u8] {
        &self.frame[self.ip.clone()]
    }

    /// What is behind the IP header.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }

    /// The same, to be changed. Its checksum was verified and is not looked at again.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.frame[self.payload.clone()]
    }

    /// The frame that it came in, for whoever wants its memory.
    pub fn into_frame(self) -> Vec<u8> {
        self.frame
    }

    /// Bytes that it takes in memory, with what a queue needs for it.
    pub fn held(&self) -> usize {
        self.frame.capacity() + 2 * size_of::<Self>()
    }

    /// Whether the transport checksum holds. A UDP packet over IPv4 may have none.
    pub fn is_checksum_valid(&self) -> bool {
        let payload = self.payload();
        match self.protocol {
            UDP if self.source.is_ipv4() && payload.get(6..8) == Some(&[0, 0]) => true,
            TCP | UDP | ICMP_V6 => checksum::is_transport_valid(self.source, self.destination, self.protocol, payload),
            ICMP_V4 => checksum::is_plain_valid(payload),
            _ => true,
        }
    }
}

/// Positions count from the frame's beginning, as the packet will hold it.
fn found(header: usize, length: usize, source: IpAddr, destination: IpAddr, protocol: u8) -> Packet {
    Packet {
        frame: Vec::new(),
        ip: ETHERNET..ETHERNET + length,
        payload: ETHERNET + header..ETHERNET + length,
        source,
        destination,
        protocol,
        fragment: None,
    }
}

fn parse_v4(bytes: &[u8]) -> Result<Packet, Bad> {
    let header = bytes.first_chunk::<IPV4>().ok_or(Bad::Short)?;
    let header_length = usize::from(header[0] & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_length < IPV4 || length < header_length || header[8] == 0 {
        return Err(Bad::Header);
    }
    if length > bytes.len() {
        return Err(Bad::Short);
    }
    if !checksum::is_plain_valid(&bytes[..header_length]) {
        return Err(Bad::Checksum);
    }
    // Source routes and recorded routes mean nothing to sockets.
    if header_length > IPV4 {
        return Err(Bad::Options);
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let mut packet = found(header_length, length, address(12), address(16), header[9]);
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let (more, offset) = (flags & 0x2000 != 0, usize::from(flags & 0x1fff) * 8);
    if more || offset > 0 {
        let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
        packet.fragment = Some(Fragment { id, offset, more });
    }
    Ok(packet)
}

fn parse_v6(bytes: &[u8]) -> Result<Packet, Bad> {
    let header = bytes.first_chunk::<IPV6>().ok_or(Bad::Short)?;
    let length = IPV6 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[7] == 0 {
        return Err(Bad::Header);
    }
    if length > bytes.len() {
        return Err(Bad::Short);
    }
    let address = |at: usize| {
        let octets: [u8; 16] = std::array::from_fn(|index| header[at + index]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut packet = found(IPV6, length, address(8), address(24), header[6]);
    match header[6] {
        TCP | UDP | ICMP_V6 => Ok(packet),
        FRAGMENT => {
            let part = bytes[IPV6..length].first_chunk::<8>().ok_or(Bad::Short)?;
            let place = u16::from_be_bytes([part[2], part[3]]);
            let id = u32::from_be_bytes([part[4], part[5], part[6], part[7]]);
            packet.protocol = part[0];
            packet.payload.start += 8;
            // A lone fragment is the whole datagram (RFC 6946), which the reassembly finds by itself.
            packet.fragment = Some(Fragment { id, offset: usize::from(place & 0xfff8), more: place & 1 != 0 });
            Ok(packet)
        }
        // Everything else is an extension header, or a protocol that is not carried.
        _ => Err(Bad::Options),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::datagram;
    use super::*;

    fn frame(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut frame = vec![0; ETHERNET];
        frame.extend(datagram::header(source, destination, protocol, payload.len()));
        frame.extend_from_slice(payload);
        frame
    }

    fn v4(change: impl FnOnce(&mut Vec<u8>)) -> Result<Packet, Bad> {
        let mut bytes = frame("192.168.127.2", "192.0.2.1", UDP, &[7; 100]);
        change(&mut bytes);
        if let Some(header) = bytes.get_mut(ETHERNET..ETHERNET + IPV4) {
            header[10..12].fill(0);
            let sum = checksum::plain(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Packet::parse(bytes, TYPE_IPV4)
    }

    #[test]
    fn n5_ipv4_headers_that_lie_are_refused() {
        assert!(v4(|_| ()).is_ok());
        assert_eq!(v4(|bytes| bytes[14] = 0x44), Err(Bad::Header));
        assert_eq!(v4(|bytes| bytes[14] = 0x65), Err(Bad::Header));
        assert_eq!(v4(|bytes| bytes[17] = 121), Err(Bad::Short));
        assert_eq!(v4(|bytes| bytes[17] = 19), Err(Bad::Header));
        assert_eq!(v4(|bytes| bytes[22] = 0), Err(Bad::Header));
        assert_eq!(v4(|bytes| bytes.truncate(33)), Err(Bad::Short));
        assert_eq!(v4(|bytes| bytes[26..30].copy_from_slice(&[127, 0, 0, 1])), Err(Bad::Source));
        let mut broken = frame("192.168.127.2", "192.0.2.1", UDP, &[7; 100]);
        broken[24] ^= 1;
        assert_eq!(Packet::parse(broken, TYPE_IPV4), Err(Bad::Checksum));
        // Options: six words of header, and its checksum over all of them.
        let mut options = frame("192.168.127.2", "192.0.2.1", UDP, &[0; 100]);
        (options[14], options[24], options[25]) = (0x46, 0, 0);
        let sum = checksum::plain(&options[14..38]);
        options[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Packet::parse(options, TYPE_IPV4), Err(Bad::Options));
    }

    #[test]
    fn n7_ipv6_extensions_and_jumbograms_are_refused() {
        let six = |change: fn(&mut Vec<u8>)| {
            let mut bytes = frame("fd6c:6967:6874:6572::2", "2001:db8::1", UDP, &[7; 64]);
            change(&mut bytes);
            Packet::parse(bytes, TYPE_IPV6)
        };
        assert!(six(|_| ()).is_ok());
        for next in [0, 43, 50, 51, 59, 60, 135, 139, 255] {
            let mut bytes = frame("fd6c:6967:6874:6572::2", "2001:db8::1", UDP, &[7; 64]);
            bytes[20] = next;
            assert_eq!(Packet::parse(bytes, TYPE_IPV6), Err(Bad::Options), "{next}");
        }
        assert_eq!(six(|bytes| bytes[19] = 65), Err(Bad::Short));
        assert_eq!(six(|bytes| bytes[21] = 0), Err(Bad::Header));
        assert_eq!(six(|bytes| bytes[14] = 0x40), Err(Bad::Header));
        assert!(six(|bytes| bytes[18..20].fill(0)).unwrap().payload().is_empty());
        assert_eq!(six(|bytes| (bytes[20], bytes[19]) = (FRAGMENT, 7)), Err(Bad::Short));
    }

    #[test]
    fn padding_behind_the_packet_is_not_part_of_it() {
        let mut bytes = frame("192.168.127.2", "192.0.2.1", UDP, b"abc");
        bytes.extend_from_slice(&[0xff; 30]);
        assert_eq!(Packet::parse(bytes, TYPE_IPV4).unwrap().payload(), b"abc");
    }

    proptest! {
        #[test]
        fn n5_n7_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), six: bool) {
            let kind = if six { TYPE_IPV6 } else { TYPE_IPV4 };
            let length = bytes.len();
            if let Ok(packet) = Packet::parse(bytes, kind) {
                prop_assert!(packet.ip().len() + ETHERNET <= length && packet.payload().len() < packet.ip().len());
                packet.is_checksum_valid();
            }
        }
    }
}
