//! The header before every frame in a ring (`struct virtio_net_hdr`, virtio 1.2 §5.1.6): which checksum is still to be
//! computed, and whether the frame is a row of TCP segments in one. Pure functions; what a guest wrote is checked here. Called
//! by `service`.

/// Bytes of the header with `num_buffers`, which is always there since virtio 1.0.
pub const LENGTH: usize = 12;

/// `VIRTIO_NET_F_CSUM`: the device takes frames without a checksum.
pub const F_CSUM: u64 = 1 << 0;
/// `VIRTIO_NET_F_GUEST_CSUM`: the driver takes frames without a checksum.
pub const F_GUEST_CSUM: u64 = 1 << 1;
/// `VIRTIO_NET_F_MTU`.
pub const F_MTU: u64 = 1 << 3;
/// `VIRTIO_NET_F_MAC`.
pub const F_MAC: u64 = 1 << 5;
/// `VIRTIO_NET_F_GUEST_TSO4`: the driver takes rows of TCP segments over IPv4.
pub const F_GUEST_TSO4: u64 = 1 << 7;
/// `VIRTIO_NET_F_GUEST_TSO6`.
pub const F_GUEST_TSO6: u64 = 1 << 8;
/// `VIRTIO_NET_F_HOST_TSO4`: the device takes them.
pub const F_HOST_TSO4: u64 = 1 << 11;
/// `VIRTIO_NET_F_HOST_TSO6`.
pub const F_HOST_TSO6: u64 = 1 << 12;
/// `VIRTIO_NET_F_MRG_RXBUF`: one frame may fill several buffers.
pub const F_MRG_RXBUF: u64 = 1 << 15;
/// `VIRTIO_NET_F_STATUS`.
pub const F_STATUS: u64 = 1 << 16;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// IP version of a row of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A checksum that is to be computed over everything from `start` and put at `start + offset`, where the pseudo header's
/// sum is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// From the beginning of the frame, in bytes.
    pub start: u16,
    /// From `start`, in bytes.
    pub offset: u16,
}

/// A frame that stands for a row of TCP segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Over which IP.
    pub version: Version,
    /// Payload of each segment but the last, in bytes.
    pub size: u16,
    /// Ethernet, IP and TCP headers together, in bytes.
    pub headers: u16,
}

/// What is left to be done for a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum; `None` if the frame's is complete.
    pub checksum: Option<Checksum>,
    /// The segments; `None` for an ordinary frame.
    pub segmentation: Option<Segmentation>,
}

/// A header that no driver may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It asks for what was not negotiated.
    #[error("it uses an offload that was not negotiated")]
    NotNegotiated,
    /// The checksum's place is outside the frame.
    #[error("its checksum lies outside the frame")]
    Checksum,
    /// Segments of no length, or without a checksum.
    #[error("its segmentation makes no sense")]
    Segmentation,
}

impl Offload {
    /// Reads the header of a frame of `length` bytes that a driver with `features` sent.
    pub fn parse(wire: &[u8; LENGTH], length: usize, features: u64) -> Result<Self, Malformed> {
        let half = |at: usize| u16::from_le_bytes([wire[at], wire[at + 1]]);
        let mut offload = Self::default();
        if wire[0] & NEEDS_CSUM != 0 {
            let (start, offset) = (half(6), half(8));
            if features & F_CSUM == 0 {
                return Err(Malformed::NotNegotiated);
            }
            if usize::from(start) + usize::from(offset) + 2 > length {
                return Err(Malformed::Checksum);
            }
            offload.checksum = Some(Checksum { start, offset });
        }
        let (version, needed) = match wire[1] {
            GSO_NONE => return Ok(offload),
            GSO_TCPV4 => (Version::V4, F_HOST_TSO4),
            GSO_TCPV6 => (Version::V6, F_HOST_TSO6),
            _ => return Err(Malformed::NotNegotiated),
        };
        if features & needed == 0 {
            return Err(Malformed::NotNegotiated);
        }
        let (headers, size) = (half(2), half(4));
        // `hdr_len` is a hint (§5.1.6.2.1), which some drivers leave zero; nothing here relies on it.
        if size == 0 || offload.checksum.is_none() {
            return Err(Malformed::Segmentation);
        }
        offload.segmentation = Some(Segmentation { version, size, headers });
        Ok(offload)
    }

    /// The header of a frame that fills `buffers` buffers.
    pub fn to_wire(self, buffers: u16) -> [u8; LENGTH] {
        let mut wire = [0; LENGTH];
        let mut put = |at: usize, value: u16| wire[at..at + 2].copy_from_slice(&value.to_le_bytes());
        if let Some(Segmentation { headers, size, .. }) = self.segmentation {
            put(2, headers);
            put(4, size);
        }
        if let Some(Checksum { start, offset }) = self.checksum {
            put(6, start);
            put(8, offset);
        }
        put(10, buffers);
        wire[0] = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        wire[1] = match self.segmentation.map(|row| row.version) {
            None => GSO_NONE,
            Some(Version::V4) => GSO_TCPV4,
            Some(Version::V6) => GSO_TCPV6,
        };
        wire
    }

    /// Whether a driver with `features` takes it.
    pub fn is_accepted(self, features: u64) -> bool {
        let row = match self.segmentation.map(|row| row.version) {
            None => 0,
            Some(Version::V4) => F_GUEST_TSO4,
            Some(Version::V6) => F_GUEST_TSO6,
        };
        let needed = row | if self.checksum.is_some() { F_GUEST_CSUM } else { 0 };
        features & needed == needed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: u64 = F_CSUM | F_HOST_TSO4 | F_HOST_TSO6;

    fn wire(flags: u8, gso: u8, headers: u16, size: u16, start: u16, offset: u16) -> [u8; LENGTH] {
        let mut wire = [0; LENGTH];
        (wire[0], wire[1]) = (flags, gso);
        for (at, value) in [(2, headers), (4, size), (6, start), (8, offset)] {
            wire[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        wire
    }

    #[test]
    fn n1_lies_about_checksum_and_segments_are_refused() {
        for (bytes, length, features, want) in [
            (wire(1, 0, 0, 0, 34, 16), 51, ALL, Malformed::Checksum),
            (wire(1, 0, 0, 0, u16::MAX, u16::MAX), 65_553, ALL, Malformed::Checksum),
            (wire(1, 0, 0, 0, 34, 16), 60, 0, Malformed::NotNegotiated),
            (wire(1, 1, 54, 0, 34, 16), 60, ALL, Malformed::Segmentation),
            (wire(0, 1, 54, 1460, 0, 0), 60, ALL, Malformed::Segmentation),
            (wire(1, 1, 54, 1460, 34, 16), 60, ALL & !F_HOST_TSO4, Malformed::NotNegotiated),
            (wire(1, 4, 74, 1440, 54, 16), 90, ALL & !F_HOST_TSO6, Malformed::NotNegotiated),
            // UDP, UDP_L4, ECN and unknown kinds are never offered.
            (wire(1, 3, 42, 1472, 34, 6), 60, u64::MAX, Malformed::NotNegotiated),
            (wire(1, 5, 42, 1472, 34, 6), 60, u64::MAX, Malformed::NotNegotiated),
            (wire(1, 0x81, 54, 1460, 34, 16), 60, u64::MAX, Malformed::NotNegotiated),
            (wire(1, 0xff, 54, 1460, 34, 16), 60, u64::MAX, Malformed::NotNegotiated),
        ] {
            assert_eq!(Offload::parse(&bytes, length, features), Err(want), "{bytes:?}");
        }
        assert_eq!(Offload::parse(&wire(0xfe, 0, 9, 9, 9, 9), 14, 0), Ok(Offload::default()));
        // The checksum's two bytes may be the frame's last.
        assert!(Offload::parse(&wire(1, 0, 0, 0, 34, 16), 52, ALL).is_ok());
    }

    proptest! {
        #[test]
        fn n1_any_header_is_read_without_panic_and_its_checksum_lies_in_the_frame(
            bytes in any::<[u8; LENGTH]>(), length in 0usize..70_000, features in any::<u64>(),
        ) {
            if let Ok(Offload { checksum: Some(sum), .. }) = Offload::parse(&bytes, length, features) {
                prop_assert!(usize::from(sum.start) + usize::from(sum.offset) + 2 <= length);
            }
        }

        #[test]
        fn what_is_written_is_read_back(start in 0u16..60_000, size in 1u16.., headers: u16, six: bool) {
            let version = if six { Version::V6 } else { Version::V4 };
            let offload = Offload {
                checksum: Some(Checksum { start, offset: 16 }),
                segmentation: Some(Segmentation { version, size, headers }),
            };
            prop_assert_eq!(Offload::parse(&offload.to_wire(3), 65_553, ALL), Ok(offload));
        }
    }
}
