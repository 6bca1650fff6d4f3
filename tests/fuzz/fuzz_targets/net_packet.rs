//! One frame of the guest, read by everybody who reads frames: the virtio header before it, ARP, NDP, IP with its options and
//! extensions, ICMP. What is answered is never longer than what asked for it, so that nothing can be amplified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighter::net::reading::{Packet, Unreachable, answer_arp, answer_solicitation, reply, request, unreachable};
use lighter_vmm::virtio::net::{Offload, header};

/// The shortest frame that Ethernet carries, to which short ones are filled up.
const SHORTEST: usize = 60;

fuzz_target!(|input: (u64, [u8; header::LENGTH], &[u8])| {
    let (features, wire, bytes) = input;
    if let Ok(offload) = Offload::parse(&wire, bytes.len(), features) {
        if let Some(sum) = offload.checksum {
            assert!(usize::from(sum.start) + usize::from(sum.offset) + 2 <= bytes.len());
        }
        assert!(Offload::parse(&offload.to_wire(1), bytes.len(), features).is_ok_and(|again| again == offload));
    }
    for answer in [answer_arp(bytes), answer_solicitation(bytes)].into_iter().flatten() {
        assert!(answer.len() <= bytes.len().max(SHORTEST) + 32, "{} bytes for {}", answer.len(), bytes.len());
    }
    for kind in [0x0800, 0x86dd] {
        let Ok(packet) = Packet::parse(bytes.to_vec(), kind) else { continue };
        assert!(packet.payload().len() <= packet.ip().len() && packet.ip().len() <= bytes.len());
        assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
        let _ = packet.is_checksum_valid();
        if let Some(echo) = request(&packet) {
            assert_eq!(reply(packet.destination, &echo.to_reply(packet.destination)), Some(echo));
        }
        let message = unreachable(Unreachable::Port, packet.destination, packet.ip());
        assert!(message.len() <= packet.ip().len() + 8);
    }
});
