//! The 44-byte header in front of every vsock packet (virtio 1.2 §5.10.6), and how payload bytes come in. Pure functions
//! on bytes; called by `muxer` and `service`, and by the fuzz targets.

use crate::virtio::queue::QueueError;

/// Bytes of a header on the ring.
pub const HEADER_LEN: usize = 44;
/// The only socket type offered: stream.
pub const TYPE_STREAM: u16 = 1;
/// SHUTDOWN flag: the sender will receive no more.
pub const SHUTDOWN_RCV: u32 = 1;
/// SHUTDOWN flag: the sender will send no more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Both SHUTDOWN flags: the receiver answers with RST.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RCV | SHUTDOWN_SEND;

/// What a packet asks for (virtio 1.2 §5.10.6, `virtio_vsock_hdr.op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Open a connection.
    Request = 1,
    /// Accept it.
    Response = 2,
    /// Refuse or abort it. Never answered.
    Rst = 3,
    /// End one or both directions.
    Shutdown = 4,
    /// Payload.
    Rw = 5,
    /// Tells `buf_alloc` and `fwd_cnt`, which every other packet carries too.
    CreditUpdate = 6,
    /// Asks for a credit update.
    CreditRequest = 7,
}

impl Op {
    /// The operation with this number, if there is one.
    pub fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Rst,
            4 => Self::Shutdown,
            5 => Self::Rw,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// A header, copied once out of guest memory. Any bit pattern parses; who uses a field checks it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of payload behind the header.
    pub len: u32,
    /// Socket type, [`TYPE_STREAM`].
    pub kind: u16,
    /// An [`Op`] number.
    pub op: u16,
    /// Meaning depends on `op`.
    pub flags: u32,
    /// Size of the sender's receive buffer in bytes.
    pub buf_alloc: u32,
    /// Bytes that the sender has taken out of that buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads the wire form.
    pub fn parse(wire: &[u8; HEADER_LEN]) -> Self {
        let mut rest = &wire[..];
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// Builds the wire form.
    pub fn to_wire(&self) -> [u8; HEADER_LEN] {
        let mut wire = [0; HEADER_LEN];
        wire[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        wire[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        wire[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        wire[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        wire[24..28].copy_from_slice(&self.len.to_le_bytes());
        wire[28..30].copy_from_slice(&self.kind.to_le_bytes());
        wire[30..32].copy_from_slice(&self.op.to_le_bytes());
        wire[32..36].copy_from_slice(&self.flags.to_le_bytes());
        wire[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        wire[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        wire
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, tail) = rest.split_first_chunk::<N>().expect("the fields add up to HEADER_LEN");
    *rest = tail;
    *field
}

/// The bytes behind a received header, wherever they lie.
pub trait Payload {
    /// How many bytes there really are, whatever the header says.
    fn available(&self) -> u64;
    /// Copies the next `out.len()` bytes; callers stay within [`available`](Self::available).
    fn copy_to(&mut self, out: &mut [u8]) -> Result<(), QueueError>;
}

impl Payload for &[u8] {
    fn available(&self) -> u64 {
        self.len() as u64
    }

    fn copy_to(&mut self, out: &mut [u8]) -> Result<(), QueueError> {
        let (head, tail) = self.split_at(out.len());
        out.copy_from_slice(head);
        *self = tail;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bit_pattern_survives_parse_and_build(head in any::<[u8; 32]>(), tail in any::<[u8; 12]>()) {
            let mut wire = [0; HEADER_LEN];
            wire[..32].copy_from_slice(&head);
            wire[32..].copy_from_slice(&tail);
            prop_assert_eq!(Header::parse(&wire).to_wire(), wire);
        }

        #[test]
        fn an_operation_keeps_its_number(raw in any::<u16>()) {
            prop_assert_eq!(Op::from_raw(raw).map(|op| op as u16), (1..=7).contains(&raw).then_some(raw));
        }
    }

    #[test]
    fn fields_lie_where_the_specification_puts_them() {
        let wire: [u8; HEADER_LEN] = std::array::from_fn(|at| at as u8);
        let header = Header::parse(&wire);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_port, 0x1716_1514);
        assert_eq!((header.kind, header.op), (0x1d1c, 0x1f1e));
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
    }
}
