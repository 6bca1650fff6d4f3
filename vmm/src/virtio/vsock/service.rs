//! The task that moves packets between the two rings and the muxer. Started by `device` at activation. One round takes what
//! the guest has sent, gives it what it is owed, and interrupts it at most once per ring; then the task waits for a
//! doorbell of either ring, for the host side, or for a deadline.
//!
//! No wake-up is lost: doorbells are switched on before the rings are looked at for the last time, and a host task signals
//! our [`Kick`], which latches, after it has made something sendable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::handle::Shared;
use super::muxer::Muxer;
use super::packet::{HEADER_LEN, Header};
use super::spans::Cursor;
use crate::kick::Kick;
use crate::virtio::device::Interrupt;
use crate::virtio::panicking::Panicking;
use crate::virtio::queue::{Chain, QueueError, Virtqueue};

/// Packets taken from or put on a ring in one round, so that a guest that never stops cannot keep a worker thread.
const ROUND: usize = 256;

/// The rings in service.
struct Rings {
    rx: Virtqueue,
    tx: Virtqueue,
}

/// What to do after a round.
pub(super) enum Next {
    Again,
    Wait(Option<Instant>),
    Stop,
}

/// Why a side stopped within a round.
#[derive(PartialEq, Eq)]
enum Pause {
    Done,
    NoBuffers,
    RoundOver,
}

/// The rings, the muxer, and who wakes whom.
pub(super) struct Service {
    rings: Mutex<Option<Rings>>,
    shared: Arc<Shared>,
    interrupt: Arc<dyn Interrupt>,
    kick: Arc<Kick>,
    doorbells: [Arc<Kick>; 2],
}

impl Service {
    /// Takes the rings into service; [`run`](Self::run) does the work.
    pub fn new(rx: Virtqueue, tx: Virtqueue, shared: Arc<Shared>, interrupt: Arc<dyn Interrupt>) -> Arc<Self> {
        let doorbells = [Arc::clone(rx.kick()), Arc::clone(tx.kick())];
        let kick = Arc::new(Kick::default());
        shared.set_service(Some(Arc::clone(&kick)));
        Arc::new(Self { rings: Mutex::new(Some(Rings { rx, tx })), shared, interrupt, kick, doorbells })
    }

    /// Takes the rings away; waits for at most the rest of a round.
    pub fn stop(&self) {
        self.shared.set_service(None);
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.kick.signal();
    }

    /// Serves until [`stop`](Self::stop) or until the driver breaks a ring.
    pub async fn run(self: Arc<Self>) {
        loop {
            match self.round() {
                Next::Again => tokio::task::yield_now().await,
                Next::Wait(deadline) => self.wait(deadline).await,
                Next::Stop => break,
            }
        }
        // A doorbell that came here may be meant for the service that follows on the same rings.
        self.doorbells.iter().for_each(|doorbell| doorbell.signal());
    }

    async fn wait(&self, deadline: Option<Instant>) {
        let expiry = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.kick.notified() => {}
            () = self.doorbells[0].notified() => {}
            () = self.doorbells[1].notified() => {}
            () = expiry => {}
        }
    }

    /// Serves what is there, on both rings.
    pub fn round(&self) -> Next {
        let mut slot = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let _told = Panicking::tells("vsock", &*self.interrupt);
        let Some(rings) = slot.as_mut() else { return Next::Stop };
        let outcome = rings.round(&self.shared);
        let next = outcome.unwrap_or_else(|error| {
            *slot = None;
            // Still under our lock: the driver's reset waits for it, so none of this can hit the service that comes next.
            self.shared.set_service(None);
            self.shared.serve(|muxer| muxer.break_down(&error));
            self.interrupt.needs_reset();
            Next::Stop
        });
        drop(slot);
        self.shared.wake();
        next
    }
}

impl Rings {
    fn round(&mut self, shared: &Shared) -> Result<Next, QueueError> {
        self.tx.disable_doorbell()?;
        self.rx.disable_doorbell()?;
        shared.serve(|muxer| muxer.advance(Instant::now()));
        let received = self.receive(shared)?;
        let sent = self.send(shared)?;
        if received == Pause::RoundOver || sent == Pause::RoundOver {
            return Ok(Next::Again);
        }
        if self.tx.enable_doorbell()? || (sent == Pause::NoBuffers && self.rx.enable_doorbell()?) {
            return Ok(Next::Again);
        }
        Ok(Next::Wait(shared.serve(|muxer| muxer.deadline())))
    }

    fn receive(&mut self, shared: &Shared) -> Result<Pause, QueueError> {
        let mut pause = Pause::RoundOver;
        let mut used = false;
        for _ in 0..ROUND {
            let Some(chain) = self.tx.pop()? else {
                pause = Pause::Done;
                break;
            };
            shared.serve(|muxer| take_packet(&self.tx, &chain, muxer))?;
            self.tx.push(chain.head, 0)?;
            used = true;
        }
        if used {
            self.tx.publish()?;
        }
        Ok(pause)
    }

    fn send(&mut self, shared: &Shared) -> Result<Pause, QueueError> {
        let mut pause = Pause::RoundOver;
        let mut used = false;
        for _ in 0..ROUND {
            // One lock for the question and the answer: the host side may take back what made it sendable.
            let step = shared.serve(|muxer| {
                if !muxer.has_output() {
                    return Ok(Some(Pause::Done));
                }
                let Some(chain) = self.rx.pop()? else { return Ok(Some(Pause::NoBuffers)) };
                let written = put_packet(&self.rx, &chain, muxer)?;
                self.rx.push(chain.head, written)?;
                used = true;
                Ok(None)
            })?;
            if let Some(reason) = step {
                pause = reason;
                break;
            }
        }
        if used {
            self.rx.publish()?;
        }
        Ok(pause)
    }
}

fn take_packet(tx: &Virtqueue, chain: &Chain, muxer: &mut Muxer) -> Result<(), QueueError> {
    let mut cursor = Cursor::new(tx, &chain.readable);
    if chain.readable_len() < HEADER_LEN as u64 {
        muxer.note_malformed();
        return Ok(());
    }
    let mut wire = [0; HEADER_LEN];
    cursor.read(&mut wire)?;
    muxer.receive(&Header::parse(&wire), cursor)
}

/// Bytes written; 0 gives a buffer back that is too small for what has to be sent.
fn put_packet(rx: &Virtqueue, chain: &Chain, muxer: &mut Muxer) -> Result<u32, QueueError> {
    let room = chain.writable_len() as usize;
    let written = muxer.next(room, |header, first, second| {
        let mut cursor = Cursor::new(rx, &chain.writable);
        cursor.write(&header.to_wire())?;
        cursor.write(first)?;
        cursor.write(second)
    })?;
    Ok(written.unwrap_or(0) as u32)
}
