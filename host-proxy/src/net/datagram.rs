//! Packets towards the guest, as whole frames: headers written around a payload, and what the guest's driver will take as
//! left undone. Called by everybody who answers the guest.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use lighter_vmm::virtio::net::{Accepts, Checksum, Frame, FrameSender, Offload, SendError, Spares};

use super::packet::{ETHERNET, ICMP_V4, ICMP_V6, TCP, TYPE_IPV4, TYPE_IPV6, UDP};
use super::{checksum, plan};

/// Hop limit of what comes from us.
const HOP_LIMIT: u8 = 64;
/// Longest IP packet in bytes.
const LONGEST: usize = 65_535;

/// IPv4 identification: only for datagrams that the guest may have to fragment further on.
static NEXT_ID: AtomicU16 = AtomicU16::new(1);

/// An IP header for `length` bytes of payload.
pub fn header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(length + 20).unwrap_or(u16::MAX);
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            let mut header = vec![0x45, 0];
            header.extend_from_slice(&total.to_be_bytes());
            header.extend_from_slice(&id.to_be_bytes());
            // May be fragmented: a container's interface has a smaller MTU than this link.
            header.extend_from_slice(&[0, 0, HOP_LIMIT, protocol, 0, 0]);
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&destination.octets());
            let sum = checksum::plain(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (source, destination) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            header.extend_from_slice(&[protocol, HOP_LIMIT]);
            for address in [source, destination] {
                let IpAddr::V6(address) = address else { continue };
                header.extend_from_slice(&address.octets());
            }
            header
        }
    }
}

/// The Ethernet header of everything towards the guest.
pub fn ethernet(destination: IpAddr) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&plan::GUEST_MAC);
    header[6..12].copy_from_slice(&plan::GATEWAY_MAC);
    let kind = if destination.is_ipv4() { TYPE_IPV4 } else { TYPE_IPV6 };
    header[12..].copy_from_slice(&kind.to_be_bytes());
    header
}

/// A frame with a transport segment, in two pieces, whose checksum field, if the protocol has one, is zero.
fn frame(source: IpAddr, destination: IpAddr, protocol: u8, pieces: [&[u8]; 2], accepts: Accepts) -> Frame {
    let length = pieces[0].len() + pieces[1].len();
    let mut bytes = Vec::with_capacity(ETHERNET + 40 + length);
    bytes.extend_from_slice(&ethernet(destination));
    bytes.extend_from_slice(&header(source, destination, protocol, length));
    let start = bytes.len();
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    let segment = &bytes[start..];
    let mut offload = Offload::default();
    let (offset, value) = match protocol {
        TCP => (16, checksum::transport(source, destination, protocol, segment)),
        UDP if accepts.partial_checksums => {
            offload.checksum = Some(Checksum { start: start as u16, offset: 6 });
            (6, checksum::pseudo(source, destination, protocol, segment.len()))
        }
        UDP => (
            6,
            match checksum::transport(source, destination, protocol, segment) {
                // Zero means that there is none (RFC 768).
                0 => 0xffff,
                value => value,
            },
        ),
        ICMP_V4 => (2, checksum::plain(segment)),
        ICMP_V6 => (2, checksum::transport(source, destination, protocol, segment)),
        _ => return Frame { offload, bytes },
    };
    if let Some(field) = bytes.get_mut(start + offset..start + offset + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    Frame { offload, bytes }
}

/// Sends packets to the guest. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    sender: FrameSender,
}

impl Egress {
    /// Over one link.
    pub fn new(sender: FrameSender) -> Self {
        Self { sender }
    }

    /// What the guest's driver takes.
    pub fn accepts(&self) -> Accepts {
        self.sender.accepts()
    }

    /// Memory for frames.
    pub fn spares(&self) -> &Spares {
        self.sender.spares()
    }

    /// Sends a finished frame, waiting for room.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        self.sender.send(frame).await
    }

    /// Sends a finished frame, or drops it if there is no room: nobody waits for an answer that may get lost anyway.
    pub fn offer(&self, frame: Frame) {
        if self.sender.try_send(frame).is_err() {
            tracing::trace!("a frame for the guest was dropped: too many wait");
        }
    }

    /// Offers a transport segment whose checksum field is zero.
    pub fn segment(&self, source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) {
        self.pieces(source, destination, protocol, [segment, &[]]);
    }

    fn pieces(&self, source: IpAddr, destination: IpAddr, protocol: u8, pieces: [&[u8]; 2]) {
        // The length in an IPv6 header does not count the header itself.
        let header = if destination.is_ipv4() { 20 } else { 0 };
        if pieces[0].len() + pieces[1].len() + header <= LONGEST {
            self.offer(frame(source, destination, protocol, pieces, self.accepts()));
        }
    }

    /// Offers a UDP datagram.
    pub fn udp(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let mut header = [0; 8];
        header[..2].copy_from_slice(&source.port().to_be_bytes());
        header[2..4].copy_from_slice(&destination.port().to_be_bytes());
        header[4..6].copy_from_slice(&u16::try_from(8 + payload.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.pieces(source.ip(), destination.ip(), UDP, [&header, payload]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Packet;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_valid_checksums() {
        for (source, destination, kind) in
            [("192.0.2.1", "192.168.127.2", TYPE_IPV4), ("2001:db8::1", "fd6c:6967:6874:6572::2", TYPE_IPV6)]
        {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let icmp = if kind == TYPE_IPV4 { ICMP_V4 } else { ICMP_V6 };
            for protocol in [TCP, UDP, icmp] {
                let written = frame(source, destination, protocol, [&[0; 8], &[0; 33]], Accepts::default());
                assert_eq!(written.offload, Offload::default());
                let packet = Packet::parse(written.bytes, kind).unwrap();
                assert_eq!((packet.source, packet.destination, packet.protocol), (source, destination, protocol));
                assert!(packet.is_checksum_valid(), "{protocol}");
            }
        }
    }

    #[test]
    fn a_checksum_left_to_the_driver_lies_where_the_header_says() {
        let (source, destination) = ("192.0.2.1".parse().unwrap(), "192.168.127.2".parse().unwrap());
        let accepts = Accepts { partial_checksums: true, ..Accepts::default() };
        let written = frame(source, destination, UDP, [&[0; 12], &[]], accepts);
        let Some(sum) = written.offload.checksum else { panic!("complete") };
        let at = usize::from(sum.start + sum.offset);
        let want = checksum::pseudo(source, destination, UDP, 12);
        assert_eq!(written.bytes[at..at + 2], want.to_be_bytes());
    }
}
