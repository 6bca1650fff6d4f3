//! TCP segments that are answered without a connection: resets (RFC 9293 §3.5.2). Pure functions over the segment's bytes.

use crate::net::packet::Packet;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// A header without options.
const HEADER: usize = 20;

/// Source port, destination port.
pub fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    let header = segment.first_chunk::<HEADER>()?;
    let data = usize::from(header[12] >> 4) * 4;
    // A header length that lies makes all else doubtful.
    (HEADER..=segment.len()).contains(&data).then_some(())?;
    Some((u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])))
}

/// Whether the packet wants to open a connection and says nothing else: with FIN or RST it makes no sense.
pub fn is_syn(packet: &Packet) -> bool {
    packet.payload().get(13).is_some_and(|flags| flags & (SYN | ACK | RST | FIN) == SYN)
}

/// Whether the packet breaks a connection off.
pub fn is_rst(packet: &Packet) -> bool {
    packet.payload().get(13).is_some_and(|flags| flags & RST != 0)
}

/// Whether a packet's sequence number is what comes after that of `syn`, as one has that knows the connection.
pub fn follows(packet: &Packet, syn: &Packet) -> bool {
    let sequence = |packet: &Packet| packet.payload().get(4..8)?.try_into().ok().map(u32::from_be_bytes);
    match (sequence(packet), sequence(syn)) {
        (Some(sequence), Some(first)) => sequence == first || sequence == first.wrapping_add(1),
        _ => false,
    }
}

/// The reset that answers a segment which belongs to no connection; `None` for one that is a reset itself.
pub fn reset(segment: &[u8]) -> Option<Vec<u8>> {
    let (source, destination) = ports(segment)?;
    let flags = segment[13];
    if flags & RST != 0 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
    let (sequence, acknowledgement, answer) = if flags & ACK != 0 {
        (word(8), 0, RST)
    } else {
        let data = segment.len() - usize::from(segment[12] >> 4) * 4;
        let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        (0, word(4).wrapping_add(data as u32).wrapping_add(controls), RST | ACK)
    };
    let mut reply = [destination.to_be_bytes(), source.to_be_bytes()].concat();
    reply.extend_from_slice(&sequence.to_be_bytes());
    reply.extend_from_slice(&acknowledgement.to_be_bytes());
    reply.extend_from_slice(&[0x50, answer, 0, 0, 0, 0, 0, 0]);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(flags: u8, data: usize) -> Vec<u8> {
        let mut segment = vec![0x12, 0x34, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0, 0x50, flags, 0, 0, 0, 0, 0, 0];
        segment.resize(HEADER + data, 7);
        segment
    }

    #[test]
    fn n9_stray_segments_are_reset_as_the_standard_says() {
        let reply = reset(&segment(SYN, 0)).unwrap();
        assert_eq!((&reply[..4], reply[13]), (&[0, 80, 0x12, 0x34][..], RST | ACK));
        assert_eq!((&reply[4..8], &reply[8..12]), (&[0; 4][..], &0x101_u32.to_be_bytes()[..]));
        // Data on the SYN, and a FIN: all of it is acknowledged.
        assert_eq!(reset(&segment(SYN | FIN, 10)).unwrap()[8..12], 0x10c_u32.to_be_bytes());
        let reply = reset(&segment(ACK, 10)).unwrap();
        assert_eq!((&reply[4..8], reply[13]), (&0x200_u32.to_be_bytes()[..], RST));
        assert_eq!(reset(&segment(RST, 0)), None);
        assert_eq!(reset(&segment(RST | ACK, 0)), None);
    }

    #[test]
    fn n9_a_header_length_that_lies_is_no_segment() {
        for (length, nibble) in [(20, 0x40), (20, 0x60), (19, 0x50), (59, 0xf0), (0, 0)] {
            let mut bytes = segment(SYN, 60);
            bytes[12] = nibble;
            bytes.truncate(length);
            assert_eq!(ports(&bytes), None, "{length} {nibble:#x}");
        }
        assert_eq!(ports(&segment(SYN, 0)), Some((0x1234, 80)));
    }

    proptest! {
        #[test]
        fn n9_any_bytes_are_answered_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(reply) = reset(&bytes) {
                prop_assert!(reply.len() == HEADER && reset(&reply).is_none());
            }
        }
    }
}
