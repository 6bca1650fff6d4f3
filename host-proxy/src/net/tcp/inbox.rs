//! Packets of the guest on their way to the task of one connection, bounded in number and in bytes, for each connection and, by
//! a [`Budget`], for all together. What does not fit is dropped, as on any network: TCP sends it again, and a guest that keeps
//! to its window never gets there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::Standing;
use crate::net::budget::{Budget, Share};
use crate::net::packet::Packet;

/// Most packets that wait.
const PACKETS: usize = 256;
/// Most bytes that wait: twice the largest window.
const BYTES: usize = 512 << 10;

/// A packet that waits.
struct Queued {
    packet: Packet,
    _counted: Counted,
}

/// What a packet that waits is counted with, until it does not.
struct Counted {
    bytes: Arc<AtomicUsize>,
    size: usize,
    _share: Share,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// The task's end.
pub struct Inbox {
    packets: mpsc::Receiver<Queued>,
    /// Tells that the other end is gone, whatever waits here.
    displaced: oneshot::Receiver<()>,
    standing: Option<Standing>,
}

/// The router's end.
pub struct Letterbox {
    packets: mpsc::Sender<Queued>,
    bytes: Arc<AtomicUsize>,
    budget: Budget,
    _here: oneshot::Sender<()>,
}

/// The task that would read it is gone.
#[derive(Debug)]
pub struct Gone(pub Packet);

/// Both ends; what waits between them is taken from `budget`. Whoever wants to know when the connection stands gives
/// `standing`.
pub fn inbox(budget: &Budget, standing: Option<Standing>) -> (Letterbox, Inbox) {
    let (sender, packets) = mpsc::channel(PACKETS);
    let (here, displaced) = oneshot::channel();
    let letterbox = Letterbox { packets: sender, bytes: Arc::default(), budget: budget.clone(), _here: here };
    (letterbox, Inbox { packets, displaced, standing })
}

impl Letterbox {
    /// Whether nobody will read it any more.
    pub fn is_abandoned(&self) -> bool {
        self.packets.is_closed()
    }

    /// Drops a packet in.
    pub fn put(&self, packet: Packet) -> Result<(), Gone> {
        if self.packets.is_closed() {
            return Err(Gone(packet));
        }
        let size = packet.held();
        // The router alone adds, so nobody else can exceed the bound meanwhile.
        if self.bytes.load(Ordering::Relaxed) + size > BYTES {
            return Ok(());
        }
        let Some(share) = self.budget.take(size) else { return Ok(()) };
        self.bytes.fetch_add(size, Ordering::Relaxed);
        let counted = Counted { bytes: Arc::clone(&self.bytes), size, _share: share };
        match self.packets.try_send(Queued { packet, _counted: counted }) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Closed(queued)) => Err(Gone(queued.packet)),
        }
    }
}

impl Inbox {
    /// Tells once that both sides have answered.
    pub fn stands(&mut self) {
        if let Some(standing) = self.standing.take() {
            standing.tell();
        }
    }

    /// The next packet; `None` when the router has given the connection's place away.
    pub async fn next(&mut self) -> Option<Packet> {
        self.packets.recv().await.map(|queued| queued.packet)
    }

    /// Waits until the router has given the connection's place away. Packets that wait are left where they are. Not to be
    /// called again after that.
    pub async fn displaced(&mut self) {
        // Nobody sends anything: the other end is dropped.
        let _ = (&mut self.displaced).await;
    }

    /// The next packet, for a task that waits for other things too.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Packet>> {
        self.packets.poll_recv(cx).map(|queued| queued.map(|queued| queued.packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::packet::{ETHERNET, TCP, TYPE_IPV4};

    fn packet(length: usize) -> Packet {
        let (source, destination) = ("172.17.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut frame = vec![0; ETHERNET];
        frame.extend(crate::net::datagram::header(source, destination, TCP, length));
        frame.resize(ETHERNET + 20 + length, 7);
        Packet::parse(frame, TYPE_IPV4).unwrap()
    }

    #[tokio::test]
    async fn n9_what_waits_is_counted_until_it_is_read_or_forgotten_whatever_becomes_of_it() {
        let budget = Budget::new(4 << 20);
        let all = budget.left();
        // Read.
        let (letterbox, mut reader) = inbox(&budget, None);
        letterbox.put(packet(1000)).unwrap();
        assert!(budget.left() < all - 1000);
        assert_eq!(reader.next().await.unwrap().payload().len(), 1000);
        assert_eq!(budget.left(), all);
        // Beyond the bounds in bytes and in number.
        for length in [60_000, 10] {
            for _ in 0..2 * PACKETS {
                letterbox.put(packet(length)).unwrap();
            }
            assert!(all - budget.left() <= BYTES, "{length}");
        }
        // The reader is gone with all that waited.
        drop(reader);
        assert_eq!(budget.left(), all);
        assert!(letterbox.put(packet(1000)).is_err());
        assert_eq!((budget.left(), letterbox.bytes.load(Ordering::Relaxed)), (all, 0));
    }

    #[tokio::test]
    async fn n9_all_connections_together_take_no_more_than_the_budget() {
        let budget = Budget::new(1 << 20);
        let boxes: Vec<_> = (0..100).map(|_| inbox(&budget, None)).collect();
        let mut waiting = 0;
        for (letterbox, _) in &boxes {
            for _ in 0..20 {
                letterbox.put(packet(60_000)).unwrap();
            }
            waiting += letterbox.bytes.load(Ordering::Relaxed);
        }
        assert!(waiting <= 1 << 20 && waiting == (1 << 20) - budget.left(), "{waiting}");
        drop(boxes);
        assert_eq!(budget.left(), 1 << 20);
    }
}
