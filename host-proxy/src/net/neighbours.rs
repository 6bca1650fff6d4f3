//! Who has which address on the link: answers ARP (RFC 826) and IPv6 neighbour solicitations (RFC 4861 §7.2) for the gateway
//! and the host's alias, and nothing else. Nothing is learned: there is one station, and its address is known. Pure
//! functions. Called by `router`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{ETHERNET, ICMP_V6, TYPE_ARP, TYPE_IPV6};
use super::{checksum, plan};

/// Ethernet and IPv4, lengths 6 and 4, a request.
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Router, solicited, override.
const FLAGS: u8 = 0xe0;
/// Option: the target's link-layer address, one unit of eight bytes.
const TARGET_ADDRESS: [u8; 2] = [2, 1];

/// The frame that answers an ARP frame.
pub fn answer_arp(frame: &[u8]) -> Option<Vec<u8>> {
    let request = frame.get(ETHERNET..)?.first_chunk::<28>()?;
    let target = Ipv4Addr::new(request[24], request[25], request[26], request[27]);
    if request[..8] != ARP_REQUEST || !plan::is_ours(IpAddr::V4(target)) {
        return None;
    }
    let mut reply = header(TYPE_ARP);
    reply.extend_from_slice(&ARP_REPLY);
    reply.extend_from_slice(&plan::GATEWAY_MAC);
    reply.extend_from_slice(&target.octets());
    // Back to whom it says it is: an address that is being tested for duplicates is all zeroes.
    reply.extend_from_slice(&plan::GUEST_MAC);
    reply.extend_from_slice(&request[14..18]);
    Some(reply)
}

/// The frame that answers an IPv6 frame, if that is a neighbour solicitation for one of our addresses.
pub fn answer_solicitation(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET..)?;
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    let message = packet.get(40..40 + length)?;
    let address = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from);
    let (source, destination) = (address(packet.get(8..24)?)?, address(packet.get(24..40)?)?);
    let target = address(message.get(8..24)?)?;
    // A hop limit of 255 shows that no router passed it on (RFC 4861 §7.1.1).
    let solicits = packet[6] == ICMP_V6 && packet[7] == 255 && message[..2] == [NEIGHBOUR_SOLICITATION, 0];
    // From the unspecified address it is a test whether somebody has the address; on this link nobody needs to ask.
    if !solicits || source.is_unspecified() || source.is_multicast() || !plan::is_ours(IpAddr::V6(target)) {
        return None;
    }
    if !checksum::is_transport_valid(source.into(), destination.into(), ICMP_V6, message) {
        return None;
    }
    let mut reply = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0];
    reply.extend_from_slice(&target.octets());
    reply.extend_from_slice(&TARGET_ADDRESS);
    reply.extend_from_slice(&plan::GATEWAY_MAC);
    let sum = checksum::transport(target.into(), source.into(), ICMP_V6, &reply);
    reply[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = header(TYPE_IPV6);
    let mut ip = super::datagram::header(target.into(), source.into(), ICMP_V6, reply.len());
    ip[7] = 255;
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&reply);
    Some(frame)
}

fn header(kind: u16) -> Vec<u8> {
    [&plan::GUEST_MAC[..], &plan::GATEWAY_MAC, &kind.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arp(target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; ETHERNET];
        frame.extend_from_slice(&ARP_REQUEST);
        frame.extend_from_slice(&plan::GUEST_MAC);
        frame.extend_from_slice(&plan::GUEST_V4.octets());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target);
        frame
    }

    fn solicitation(target: Ipv6Addr) -> Vec<u8> {
        let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&target.octets());
        let (source, destination) = (IpAddr::V6(plan::GUEST_V6), IpAddr::V6(target));
        let sum = checksum::transport(source, destination, ICMP_V6, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![0; ETHERNET];
        frame.extend(super::super::datagram::header(source, destination, ICMP_V6, message.len()));
        frame[ETHERNET + 7] = 255;
        frame.extend(message);
        frame
    }

    #[test]
    fn n3_arp_is_answered_for_our_addresses_and_for_no_other() {
        for ours in [plan::GATEWAY_V4, plan::HOST_V4] {
            let reply = answer_arp(&arp(ours.octets())).unwrap();
            assert_eq!(reply[..6], plan::GUEST_MAC);
            assert_eq!(reply[14..22], ARP_REPLY);
            assert_eq!(reply[22..28], plan::GATEWAY_MAC);
            assert_eq!(reply[28..32], ours.octets());
            assert_eq!(reply[38..42], plan::GUEST_V4.octets());
        }
        for other in [plan::GUEST_V4.octets(), [192, 168, 127, 4], [0; 4], [255; 4], [127, 0, 0, 1]] {
            assert_eq!(answer_arp(&arp(other)), None);
        }
    }

    #[test]
    fn n3_arp_of_wrong_sizes_kinds_and_operations_is_ignored() {
        let good = arp(plan::GATEWAY_V4.octets());
        for length in 0..good.len() {
            assert_eq!(answer_arp(&good[..length]), None, "{length}");
        }
        for at in ETHERNET..ETHERNET + 8 {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(answer_arp(&bad), None, "{at}");
        }
        // A reply that claims our address changes nothing: nothing is learned.
        let mut gratuitous = good;
        gratuitous[ETHERNET + 7] = 2;
        assert_eq!(answer_arp(&gratuitous), None);
    }

    #[test]
    fn n7_solicitations_are_answered_for_our_addresses_and_advertisements_are_not_believed() {
        for ours in [plan::GATEWAY_V6, plan::HOST_V6] {
            let reply = answer_solicitation(&solicitation(ours)).unwrap();
            let message = &reply[ETHERNET + 40..];
            assert_eq!((message[0], reply[ETHERNET + 7]), (NEIGHBOUR_ADVERTISEMENT, 255));
            assert_eq!(message[26..32], plan::GATEWAY_MAC);
            assert!(checksum::is_transport_valid(ours.into(), plan::GUEST_V6.into(), ICMP_V6, message));
        }
        assert_eq!(answer_solicitation(&solicitation(plan::GUEST_V6)), None);
        for (at, value) in [(ETHERNET + 7, 64), (ETHERNET + 40, 134), (ETHERNET + 40, 136), (ETHERNET + 42, 0xff)] {
            let mut bad = solicitation(plan::GATEWAY_V6);
            bad[at] = value;
            assert_eq!(answer_solicitation(&bad), None, "{at}");
        }
        let good = solicitation(plan::GATEWAY_V6);
        for length in 0..good.len() {
            assert_eq!(answer_solicitation(&good[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn n3_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            answer_arp(&bytes);
            answer_solicitation(&bytes);
        }
    }
}
