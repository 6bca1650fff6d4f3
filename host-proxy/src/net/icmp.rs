//! Messages of ICMP (RFC 792) and ICMPv6 (RFC 4443) to the guest: a packet went nowhere, and why; and echoes. Pure functions
//! that return what goes behind the IP header, its checksum still zero.

use std::net::IpAddr;

use super::packet::{ICMP_V4, ICMP_V6, Packet};

/// Why a packet went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// There is no route.
    Network,
    /// The host does not answer.
    Host,
    /// Nobody has this UDP port.
    Port,
    /// It is forbidden.
    Prohibited,
}

impl Unreachable {
    /// Type and code for the version of `address`.
    fn code(self, address: IpAddr) -> [u8; 2] {
        match (address, self) {
            (IpAddr::V4(_), Self::Network) => [3, 0],
            (IpAddr::V4(_), Self::Host) => [3, 1],
            (IpAddr::V4(_), Self::Port) => [3, 3],
            (IpAddr::V4(_), Self::Prohibited) => [3, 13],
            (IpAddr::V6(_), Self::Network) => [1, 0],
            (IpAddr::V6(_), Self::Host) => [1, 3],
            (IpAddr::V6(_), Self::Port) => [1, 4],
            (IpAddr::V6(_), Self::Prohibited) => [1, 1],
        }
    }
}

/// Most of a packet that is quoted: what keeps the message within 576 bytes (RFC 1812 §4.3.2.3).
const QUOTED: usize = 576 - 40 - 8;

/// The protocol's number for the version of `address`.
pub fn protocol(address: IpAddr) -> u8 {
    if address.is_ipv4() { ICMP_V4 } else { ICMP_V6 }
}

/// Tells that `packet`, an IP packet to `destination`, went nowhere.
pub fn unreachable(why: Unreachable, destination: IpAddr, packet: &[u8]) -> Vec<u8> {
    let mut message = why.code(destination).to_vec();
    message.extend_from_slice(&[0; 6]);
    message.extend_from_slice(quoted(packet));
    message
}

/// As much of an IP packet as a message quotes.
pub fn quoted(packet: &[u8]) -> &[u8] {
    &packet[..packet.len().min(QUOTED)]
}

/// An echo request's identifier, sequence number and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Which program asks.
    pub identifier: u16,
    /// Which of its questions.
    pub sequence: u16,
    /// What comes back as it was.
    pub data: &'a [u8],
}

const REQUEST: [u8; 2] = [8, 128];
const REPLY: [u8; 2] = [0, 129];

/// The echo request in a packet of the guest.
pub fn request(packet: &Packet) -> Option<Echo<'_>> {
    echo(REQUEST, packet.source, packet.payload())
}

/// The echo reply in a message from `source`.
pub fn reply(source: IpAddr, message: &[u8]) -> Option<Echo<'_>> {
    echo(REPLY, source, message)
}

fn echo(kinds: [u8; 2], address: IpAddr, message: &[u8]) -> Option<Echo<'_>> {
    let (header, data) = message.split_first_chunk::<8>()?;
    if header[..2] != [kinds[usize::from(address.is_ipv6())], 0] {
        return None;
    }
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Some(Echo { identifier: half(4), sequence: half(6), data })
}

impl Echo<'_> {
    /// As a request to `address`.
    pub fn to_request(self, address: IpAddr) -> Vec<u8> {
        self.to_message(REQUEST, address)
    }

    /// As a reply to `address`.
    pub fn to_reply(self, address: IpAddr) -> Vec<u8> {
        self.to_message(REPLY, address)
    }

    fn to_message(self, kinds: [u8; 2], address: IpAddr) -> Vec<u8> {
        let mut message = vec![kinds[usize::from(address.is_ipv6())], 0, 0, 0];
        message.extend_from_slice(&self.identifier.to_be_bytes());
        message.extend_from_slice(&self.sequence.to_be_bytes());
        message.extend_from_slice(self.data);
        message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn n11_a_long_packet_is_quoted_only_as_far_as_the_message_may_go() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let message = unreachable(Unreachable::Port, address.parse().unwrap(), &[9; 65_535]);
            assert_eq!(message.len() + 40, 576);
        }
    }

    #[test]
    fn n11_reasons_are_told_apart_in_both_versions() {
        let kinds = [Unreachable::Network, Unreachable::Host, Unreachable::Port, Unreachable::Prohibited];
        let codes = |address: &str| kinds.map(|kind| unreachable(kind, address.parse().unwrap(), &[])[..2].to_vec());
        assert_eq!(codes("192.0.2.1"), [[3, 0], [3, 1], [3, 3], [3, 13]]);
        assert_eq!(codes("2001:db8::1"), [[1, 0], [1, 3], [1, 4], [1, 1]]);
    }

    proptest! {
        #[test]
        fn n11_echoes_survive_and_other_messages_are_none(
            identifier: u16, sequence: u16, data in prop::collection::vec(any::<u8>(), 0..2000), six: bool, noise in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let address: IpAddr = if six { "2001:db8::1".parse().unwrap() } else { "192.0.2.1".parse().unwrap() };
            let echo = Echo { identifier, sequence, data: &data };
            let (answer, question) = (echo.to_reply(address), echo.to_request(address));
            prop_assert_eq!(reply(address, &answer), Some(echo));
            prop_assert_eq!(reply(address, &question), None);
            reply(address, &noise);
        }
    }
}
