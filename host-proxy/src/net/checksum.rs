//! The internet checksum (RFC 1071) and the pseudo headers of IPv4 and IPv6. Pure functions, used wherever packets are read
//! or written.

use std::net::IpAddr;

/// One's complement sum of `parts` as one run of bytes; every part but the last has an even length.
fn sum(start: u32, parts: &[&[u8]]) -> u16 {
    let mut total = u64::from(start);
    for part in parts {
        let mut words = part.chunks_exact(2);
        total += words.by_ref().map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>();
        if let [last] = words.remainder() {
            total += u64::from(*last) << 8;
        }
    }
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// The sum over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), not complemented: what stands in the checksum's place when
/// the rest is left to somebody else.
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let start = u32::from(protocol) + (length >> 16) as u32 + (length & 0xffff) as u32;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => sum(start, &[&source.octets(), &destination.octets()]),
        (IpAddr::V6(source), IpAddr::V6(destination)) => sum(start, &[&source.octets(), &destination.octets()]),
        // A packet has one version; the callers take both addresses from one.
        _ => 0,
    }
}

/// The checksum of bytes without a pseudo header, to be put into them where they are zero now.
pub fn plain(bytes: &[u8]) -> u16 {
    !sum(0, &[bytes])
}

/// The checksum of a transport segment, to be put into it where it is zero now.
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    !sum(u32::from(pseudo(source, destination, protocol, segment.len())), &[segment])
}

/// Whether bytes that contain their checksum are as they were sent; for IPv4 headers and ICMP.
pub fn is_plain_valid(bytes: &[u8]) -> bool {
    sum(0, &[bytes]) == 0xffff
}

/// Whether a transport segment that contains its checksum is as it was sent.
pub fn is_transport_valid(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> bool {
    sum(u32::from(pseudo(source, destination, protocol, segment.len())), &[segment]) == 0xffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        assert_eq!(plain(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(plain(&[0xff]), 0x00ff);
        assert_eq!(plain(&[]), 0xffff);
    }

    proptest! {
        #[test]
        fn what_is_filled_in_is_valid_and_a_flipped_bit_is_not(
            mut segment in prop::collection::vec(any::<u8>(), 8..200), flip in 0usize..64, six: bool,
        ) {
            let (source, destination): (IpAddr, IpAddr) = if six {
                ("2001:db8::1".parse().unwrap(), "fd00::2".parse().unwrap())
            } else {
                ("192.0.2.1".parse().unwrap(), "10.1.2.3".parse().unwrap())
            };
            segment[6..8].fill(0);
            let value = transport(source, destination, 17, &segment);
            segment[6..8].copy_from_slice(&value.to_be_bytes());
            prop_assert!(is_transport_valid(source, destination, 17, &segment));
            segment[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!is_transport_valid(source, destination, 17, &segment));
        }
    }
}
