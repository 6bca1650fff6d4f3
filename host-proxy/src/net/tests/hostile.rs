//! A guest that scans, lies and floods.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::super::packet::{ETHERNET, ICMP_V4, TCP, UDP};
use super::super::{checksum, icmp, plan};
use super::guest::{Guest, LINUX, packet};

fn syn(destination: IpAddr, from: u16, port: u16) -> Vec<u8> {
    let source: IpAddr = if destination.is_ipv4() { plan::GUEST_V4.into() } else { plan::GUEST_V6.into() };
    let mut segment = [from.to_be_bytes(), port.to_be_bytes()].concat();
    segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum::transport(source, destination, TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    packet(source, destination, TCP, &segment)
}

/// Ports of `destination` that answer a SYN with SYN and ACK.
async fn open_ports(guest: &mut Guest, destination: IpAddr) -> BTreeSet<u16> {
    let (mut open, mut answers) = (BTreeSet::new(), 0u32);
    for port in 1..=u16::MAX {
        guest.send_ip(&syn(destination, 50_000, port)).await;
        // Answers beyond what the link holds are dropped, so they are fetched as they come.
        if port % 64 == 0 || port == u16::MAX {
            let wanted = u32::from(port);
            for _ in 0..2000 {
                let tcp = guest.raw_tcp();
                let other = guest.others();
                answers += (tcp.len() + other.len()) as u32;
                let header = if destination.is_ipv4() { 20 } else { 40 };
                for packet in tcp {
                    // An earlier probe of another address may still be answered.
                    let is_from = match destination {
                        IpAddr::V4(address) => packet[12..16] == address.octets(),
                        IpAddr::V6(address) => packet[8..24] == address.octets(),
                    };
                    if is_from && packet[header + 13] & 0x12 == 0x12 {
                        open.insert(u16::from_be_bytes([packet[header], packet[header + 1]]));
                    }
                }
                if answers >= wanted {
                    break;
                }
                guest.changed().await;
            }
        }
    }
    assert!(answers >= u32::from(u16::MAX), "only {answers} probes were answered");
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g14_a_scan_of_the_virtual_addresses_finds_the_name_server_and_nothing_else() {
    let mut guest = Guest::new(LINUX, false, "").without_client();
    for (address, want) in [
        (IpAddr::from(plan::GATEWAY_V4), BTreeSet::from([53])),
        (IpAddr::from(plan::GATEWAY_V6), BTreeSet::from([53])),
        (IpAddr::from(plan::HOST_V4), BTreeSet::new()),
        (IpAddr::from(plan::HOST_V6), BTreeSet::new()),
    ] {
        assert_eq!(open_ports(&mut guest, address).await, want, "{address}");
    }
}

/// The gateway still answers.
async fn is_alive(guest: &mut Guest) {
    let gateway = plan::GATEWAY_V4.into();
    let echo = icmp::Echo { identifier: 1, sequence: 2, data: b"alive" };
    let mut request = echo.to_request(gateway);
    let sum = checksum::plain(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    guest.send_ip(&packet(plan::GUEST_V4.into(), gateway, ICMP_V4, &request)).await;
    let reply = guest.other("the echo").await;
    assert_eq!(icmp::reply(gateway, reply.payload()), Some(echo));
}

/// A BOOTREQUEST of this type from the hardware address that ends in `index`, with an option that goes beyond the end.
fn dhcp(kind: u8, index: u16) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.resize(236, 0);
    message[28..30].copy_from_slice(&index.to_be_bytes());
    message.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind, 61, 255]);
    message
}

/// DISCOVER, REQUEST, DECLINE, RELEASE, INFORM (RFC 2132 §9.6), and a type that there is none of.
const DHCP_KINDS: [u8; 6] = [1, 3, 4, 7, 8, 99];

#[tokio::test]
async fn n4_nobody_serves_dhcp_so_there_are_no_leases_to_exhaust() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    for index in 0..10_000u16 {
        let kind = DHCP_KINDS[usize::from(index / 2) % DHCP_KINDS.len()];
        let broadcast = SocketAddr::from(([255, 255, 255, 255], 67));
        let from: IpAddr = if index % 2 == 0 { [0, 0, 0, 0].into() } else { plan::GUEST_V4.into() };
        let ip = packet(from, broadcast.ip(), UDP, &super::guest::udp(from, 68, broadcast, &dhcp(kind, index)));
        guest.send_ip(&ip).await;
    }
    is_alive(&mut guest).await;
    assert!(guest.raw_tcp().is_empty() && guest.others().is_empty());
}

#[tokio::test]
async fn n4_informs_declines_and_releases_to_the_gateway_itself_are_refused() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    for kind in DHCP_KINDS {
        guest.send_udp(68, SocketAddr::from((plan::GATEWAY_V4, 67)), &dhcp(kind, 7)).await;
        let message = guest.other("port unreachable").await;
        assert_eq!((message.protocol, &message.payload()[..2]), (ICMP_V4, &[3, 3][..]), "{kind}");
    }
}

#[tokio::test]
async fn n3_a_flood_of_arp_is_answered_as_far_as_the_guest_takes_answers_and_no_further() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    let mut request = [&[0xff; 6][..], &plan::GUEST_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &plan::GUEST_MAC].concat();
    request.extend_from_slice(&plan::GUEST_V4.octets());
    request.extend_from_slice(&[0; 6]);
    request.extend_from_slice(&plan::GATEWAY_V4.octets());
    for _ in 0..20_000 {
        guest.send_frame(request.clone()).await;
    }
    let mut waiting = 0;
    while guest.end.next_frame().is_some() {
        waiting += 1;
    }
    assert!((1..=lighter_vmm::virtio::net::QUEUED_FRAMES).contains(&waiting), "{waiting}");
    is_alive(&mut guest).await;
}

#[tokio::test]
async fn n1_short_and_long_frames_are_no_reason_to_fall_over() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    for length in (0..=ETHERNET + 60).chain([1514, 1515, 65_535, 65_553]) {
        for kind in [[8, 0], [8, 6], [0x86, 0xdd]] {
            let mut bytes = [&plan::GATEWAY_MAC[..], &plan::GUEST_MAC, &kind].concat();
            bytes.resize(length, 0x45);
            // The version and the other lengths lie; the address must not be one of somebody real.
            if let Some(address) = bytes.get_mut(ETHERNET + 16..ETHERNET + 20) {
                address.copy_from_slice(&plan::GATEWAY_V4.octets());
            }
            guest.send_frame(bytes).await;
        }
    }
    is_alive(&mut guest).await;
    assert!(guest.raw_tcp().is_empty() && guest.others().is_empty());
}

#[tokio::test]
async fn n2_frames_that_concern_nobody_are_not_answered() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    let good = syn(plan::GATEWAY_V4.into(), 50_000, 80);
    let frame =
        |destination: [u8; 6], source: [u8; 6], kind: [u8; 2]| [&destination[..], &source, &kind, &good].concat();
    let (gateway, own) = (plan::GATEWAY_MAC, plan::GUEST_MAC);
    for bytes in [
        frame([0xff; 6], own, [8, 0]),
        frame([1, 0, 0x5e, 0, 0, 1], own, [8, 0]),
        frame([2, 9, 9, 9, 9, 9], own, [8, 0]),
        frame(gateway, gateway, [8, 0]),
        frame(gateway, [0xff; 6], [8, 0]),
        frame(gateway, own, [0x81, 0]),
        frame(gateway, own, [0x12, 0x34]),
        frame(gateway, own, [0x86, 0xdd]),
        vec![0; 14],
        [&gateway[..], &own, &[8, 0]].concat(),
    ] {
        guest.send_frame(bytes).await;
    }
    is_alive(&mut guest).await;
    assert!(guest.raw_tcp().is_empty() && guest.others().is_empty());
}

#[tokio::test]
async fn n9_odd_flags_never_open_a_connection() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    for flags in 0..=255u8 {
        // A lone SYN is the one that may.
        if flags & 0x17 == 2 {
            continue;
        }
        let mut packet = syn(plan::GATEWAY_V4.into(), 50_000 + u16::from(flags), 53);
        packet[33] = flags;
        packet[36..38].fill(0);
        let sum = checksum::transport(plan::GUEST_V4.into(), plan::GATEWAY_V4.into(), TCP, &packet[20..]);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        guest.send_ip(&packet).await;
    }
    is_alive(&mut guest).await;
    let answers = guest.raw_tcp();
    assert!(answers.iter().all(|packet| packet[33] & 0x12 != 0x12 && packet[33] & 4 != 0));
    // Everything but resets is answered by a reset.
    let expected = (0..=255u8).filter(|flags| flags & 0x17 != 2 && flags & 4 == 0).count();
    assert_eq!(answers.len(), expected);
}

#[tokio::test]
async fn n9_a_flood_of_syns_is_bounded() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    let mut answered = BTreeSet::new();
    for from in 1..=6000u16 {
        guest.send_ip(&syn(plan::GATEWAY_V4.into(), from, 53)).await;
        if from % 64 == 0 {
            guest.changed().await;
            for packet in guest.raw_tcp().iter().filter(|packet| packet[33] & 0x12 == 0x12) {
                answered.insert(u16::from_be_bytes([packet[22], packet[23]]));
            }
        }
    }
    for _ in 0..50 {
        guest.changed().await;
        for packet in guest.raw_tcp().iter().filter(|packet| packet[33] & 0x12 == 0x12) {
            answered.insert(u16::from_be_bytes([packet[22], packet[23]]));
        }
    }
    assert!(answered.len() <= 4096, "{} half-open connections", answered.len());
    is_alive(&mut guest).await;
}

#[tokio::test]
async fn n5_packets_from_nobody_and_with_wrong_checksums_are_not_answered() {
    let mut guest = Guest::new(LINUX, true, "").without_client();
    for source in ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.168.127.1", "192.168.127.3"] {
        let mut ip = syn(plan::GATEWAY_V4.into(), 50_000, 80);
        let source: std::net::Ipv4Addr = source.parse().unwrap();
        ip[12..16].copy_from_slice(&source.octets());
        ip[10..12].fill(0);
        ip[36..38].fill(0);
        let sum = checksum::plain(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let sum = checksum::transport(source.into(), plan::GATEWAY_V4.into(), TCP, &ip[20..]);
        ip[36..38].copy_from_slice(&sum.to_be_bytes());
        guest.send_ip(&ip).await;
    }
    for at in [11, 20, 37] {
        let mut ip = syn(plan::GATEWAY_V4.into(), 50_000, 80);
        ip[at] ^= 0x55;
        guest.send_ip(&ip).await;
    }
    is_alive(&mut guest).await;
    assert!(guest.raw_tcp().is_empty() && guest.others().is_empty());
}
