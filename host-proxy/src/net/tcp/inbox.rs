//! Packets of the guest on their way to the task of one connection, bounded in number and in bytes. What does not fit is
//! dropped, as on any network: TCP sends it again, and a guest that keeps to its window never gets there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::net::packet::Packet;

/// Most packets that wait.
const PACKETS: usize = 256;
/// Most bytes that wait: twice the largest window.
const BYTES: usize = 512 << 10;

/// The task's end.
pub struct Inbox {
    packets: mpsc::Receiver<Packet>,
    bytes: Arc<AtomicUsize>,
}

/// The router's end.
pub struct Letterbox {
    packets: mpsc::Sender<Packet>,
    bytes: Arc<AtomicUsize>,
}

/// The task that would read it is gone.
#[derive(Debug)]
pub struct Gone(pub Packet);

/// Both ends.
pub fn inbox() -> (Letterbox, Inbox) {
    let (sender, packets) = mpsc::channel(PACKETS);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Letterbox { packets: sender, bytes: Arc::clone(&bytes) }, Inbox { packets, bytes })
}

impl Letterbox {
    /// Whether nobody will read it any more.
    pub fn is_abandoned(&self) -> bool {
        self.packets.is_closed()
    }

    /// Drops a packet in.
    pub fn put(&self, packet: Packet) -> Result<(), Gone> {
        let size = packet.size();
        // The router alone adds, so nobody else can exceed the bound meanwhile.
        if self.bytes.load(Ordering::Relaxed) + size > BYTES {
            return if self.packets.is_closed() { Err(Gone(packet)) } else { Ok(()) };
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        match self.packets.try_send(packet) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.bytes.fetch_sub(size, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Closed(packet)) => Err(Gone(packet)),
        }
    }
}

impl Inbox {
    /// The next packet.
    pub async fn next(&mut self) -> Option<Packet> {
        let packet = self.packets.recv().await?;
        self.bytes.fetch_sub(packet.size(), Ordering::Relaxed);
        Some(packet)
    }

    /// The next packet, for a task that waits for other things too.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Packet>> {
        let polled = self.packets.poll_recv(cx);
        if let Poll::Ready(Some(packet)) = &polled {
            self.bytes.fetch_sub(packet.size(), Ordering::Relaxed);
        }
        polled
    }
}
