//! Fragments of the guest's datagrams, put together (RFC 791 §3.2, RFC 8200 §4.5). A container's datagram that is longer than
//! its interface's MTU arrives like this. Called by `router`.
//!
//! Bounds: [`MOST`] datagrams of at most 64 KiB are open, each for [`PATIENCE`], shared between containers by the rule of
//! [`Table`]; their pieces are taken from a [`Budget`]. Fragments that overlap make the whole datagram worthless (RFC 5722):
//! only attackers send them.

use std::net::IpAddr;

use tokio::time::{Duration, Instant};

use super::budget::{Budget, Share};
use super::packet::{Fragment, Packet};
use super::table::{Admission, Named, Table};

/// Most datagrams that are incomplete at the same time.
const MOST: usize = 32;
/// How long a datagram may stay incomplete.
const PATIENCE: Duration = Duration::from_secs(15);
/// After this a datagram may be replaced by another of the same container; its pieces come at once or not at all.
const IDLE_ENOUGH: Duration = Duration::from_secs(1);
/// Longest payload of an IP packet, in bytes.
const LONGEST: usize = 65_535 - 20;
/// Most pieces of one datagram: what IPv4's least MTU would need for the longest one is far more than any path has.
const PIECES: usize = 256;

type Key = (IpAddr, IpAddr, u8, u32);

impl Named for Key {
    fn source(&self) -> IpAddr {
        self.0
    }
}

struct Datagram {
    began: Instant,
    /// By offset, none overlapping.
    pieces: Vec<(usize, Vec<u8>)>,
    /// What they are counted with.
    shares: Vec<Share>,
    /// Known once the last one is here.
    length: Option<usize>,
    first: Option<Packet>,
    spoilt: bool,
}

/// All incomplete datagrams.
pub struct Fragments {
    open: Table<Key, Datagram>,
    memory: Budget,
}

impl Fragments {
    /// None yet; `memory` is for their pieces.
    pub fn new(memory: Budget) -> Self {
        Self { open: Table::new(MOST, IDLE_ENOUGH), memory }
    }

    /// Takes one fragment; the whole datagram if that was the last missing one.
    pub fn receive(&mut self, packet: Packet, fragment: Fragment) -> Option<Packet> {
        let now = Instant::now();
        self.open.remove_all(|datagram| now.duration_since(datagram.began) >= PATIENCE);
        if packet.payload().is_empty() || (fragment.more && !packet.payload().len().is_multiple_of(8)) {
            return None;
        }
        // A piece is copied out of its packet; the first packet stays as well.
        let share = self.memory.take(packet.held() * if fragment.offset == 0 { 2 } else { 1 })?;
        let key = (packet.source, packet.destination, packet.protocol, fragment.id);
        if self.open.get(&key).is_none() {
            let (pieces, shares) = (Vec::new(), Vec::new());
            let fresh = Datagram { began: now, pieces, shares, length: None, first: None, spoilt: false };
            if let Admission::Refused(_) = self.open.admit(key, fresh) {
                return None;
            }
        }
        if !self.open.hear(&key)?.add(packet, fragment, share) {
            return None;
        }
        self.open.remove(&key)?.whole()
    }
}

impl Datagram {
    /// Takes a piece; `true` once all are here.
    fn add(&mut self, packet: Packet, fragment: Fragment, share: Share) -> bool {
        let Fragment { offset, more, .. } = fragment;
        let end = offset + packet.payload().len();
        let at = self.pieces.partition_point(|piece| piece.0 < offset);
        // The very same piece twice is a repetition by the network, not an attack.
        if self.pieces.get(at).is_some_and(|piece| piece.0 == offset && piece.1 == packet.payload()) {
            return false;
        }
        let before = at.checked_sub(1).map_or(0, |at| self.pieces[at].0 + self.pieces[at].1.len());
        let overlaps = before > offset || self.pieces.get(at).is_some_and(|next| end > next.0);
        let too_long = end > LONGEST || self.pieces.len() == PIECES;
        let last_differs = !more && self.length.is_some_and(|length| length != end);
        let beyond = self.length.is_some_and(|length| end > length);
        if self.spoilt || overlaps || too_long || last_differs || beyond {
            // Stays as a mark until its time is over, so that what follows does not begin it anew.
            self.spoilt = true;
            (self.pieces, self.shares, self.first) = (Vec::new(), Vec::new(), None);
            return false;
        }
        self.pieces.insert(at, (offset, packet.payload().to_vec()));
        self.shares.push(share);
        if !more {
            self.length = Some(end);
        }
        if offset == 0 {
            self.first = Some(packet);
        }
        let present: usize = self.pieces.iter().map(|piece| piece.1.len()).sum();
        self.length == Some(present)
    }

    fn whole(self) -> Option<Packet> {
        let payload: Vec<u8> = self.pieces.into_iter().flat_map(|piece| piece.1).collect();
        self.first.map(|first| Packet::whole(&first, &payload))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::{ETHERNET, TYPE_IPV4, UDP};
    use super::super::{checksum, datagram};
    use super::*;

    /// One fragment of `data`, as the guest sends it.
    fn piece(id: u16, data: &[u8], from: usize, to: usize, more: bool) -> Packet {
        let mut frame = vec![0; ETHERNET];
        let addresses = ("192.168.127.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut header = datagram::header(addresses.0, addresses.1, UDP, to - from);
        header[4..6].copy_from_slice(&id.to_be_bytes());
        let place = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        header[6..8].copy_from_slice(&place.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::plain(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend_from_slice(&data[from..to]);
        Packet::parse(frame, TYPE_IPV4).unwrap()
    }

    fn empty() -> Fragments {
        Fragments::new(Budget::new(8 << 20))
    }

    fn give(fragments: &mut Fragments, packet: Packet) -> Option<Packet> {
        let fragment = packet.fragment.unwrap();
        fragments.receive(packet, fragment)
    }

    #[tokio::test]
    async fn n6_overlaps_spoil_the_datagram_and_a_repetition_does_not() {
        let data: Vec<u8> = (0..100).collect();
        let mut fragments = empty();
        assert_eq!(give(&mut fragments, piece(1, &data, 0, 48, true)), None);
        assert_eq!(give(&mut fragments, piece(1, &data, 0, 48, true)), None);
        let whole = give(&mut fragments, piece(1, &data, 48, 100, false)).unwrap();
        assert_eq!((whole.payload(), whole.fragment), (&data[..], None));
        for (id, (from, to)) in (2..).zip([(40, 100), (0, 8), (0, 56), (8, 16)]) {
            assert_eq!(give(&mut fragments, piece(id, &data, 0, 48, true)), None);
            assert_eq!(give(&mut fragments, piece(id, &data, from, to, to < 100)), None);
            assert_eq!(give(&mut fragments, piece(id, &data, 48, 100, false)), None, "{from}..{to}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn n6_what_is_never_finished_is_forgotten() {
        let data = [7; 64];
        let mut fragments = empty();
        for id in 0..1000 {
            assert_eq!(give(&mut fragments, piece(id, &data, 0, 32, true)), None);
            assert!(fragments.open.len() <= MOST);
        }
        tokio::time::advance(PATIENCE).await;
        assert_eq!(give(&mut fragments, piece(999, &data, 32, 64, false)), None);
        assert_eq!(fragments.open.len(), 1);
    }

    #[tokio::test]
    async fn n6_a_datagram_beyond_64_kib_is_spoilt() {
        let data = vec![1; 65_535 + 8000];
        let mut fragments = empty();
        for from in (0..64_000).step_by(8000) {
            assert_eq!(give(&mut fragments, piece(3, &data, from, from + 8000, true)), None);
        }
        assert_eq!(give(&mut fragments, piece(3, &data, 64_000, 66_000, false)), None);
        let key = (piece(3, &data, 0, 8, true).source, piece(3, &data, 0, 8, true).destination, UDP, 3);
        let spoilt = fragments.open.get(&key).unwrap();
        assert!(spoilt.spoilt && spoilt.pieces.is_empty());
        assert_eq!(fragments.memory.left(), 8 << 20, "what is spoilt takes no memory");
    }

    proptest! {
        #[test]
        fn n6_fragments_in_any_order_give_the_datagram(
            data in prop::collection::vec(any::<u8>(), 100..3000), size in 2usize..40, order in any::<u64>(),
        ) {
            let size = size * 8;
            let mut pieces: Vec<_> = (0..data.len()).step_by(size).map(|from| {
                let to = (from + size).min(data.len());
                piece(9, &data, from, to, to < data.len())
            }).collect();
            let mut seed = order;
            for at in (1..pieces.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(at, (seed >> 33) as usize % (at + 1));
            }
            let mut fragments = empty();
            let whole: Vec<_> = pieces.into_iter().filter(|piece| piece.fragment.is_some()).filter_map(|piece| give(&mut fragments, piece)).collect();
            if data.len() > size {
                prop_assert_eq!(whole.len(), 1);
                prop_assert_eq!(whole[0].payload(), &data[..]);
            }
        }
    }
}
