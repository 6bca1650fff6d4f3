//! The task that moves frames between the two rings and the link. Started by `device` at activation. One round takes what
//! the guest has sent and gives it what waits for it, and interrupts it at most once per ring; then the task waits for a
//! doorbell, for a frame from the stack, or for room in the stack.
//!
//! No wake-up is lost: doorbells are switched on before the rings are looked at for the last time, and the stack signals our
//! [`Kick`], which latches, after it has queued a frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::error::TrySendError;

use super::header::{self, F_MRG_RXBUF, Offload};
use super::link::{Frame, GuestEnd};
use super::spares::Spares;
use super::{ETHERNET, LONGEST_FRAME};
use crate::kick::Kick;
use crate::rate_limit::RateLimit;
use crate::virtio::device::Interrupt;
use crate::virtio::panicking::Panicking;
use crate::virtio::queue::{Chain, QueueError, Span, Virtqueue};

/// Frames taken from or put on a ring in one round, so that a guest that never stops cannot keep a worker thread.
const ROUND: usize = 64;

/// The rings in service.
struct Rings {
    rx: Virtqueue,
    tx: Virtqueue,
    features: u64,
    /// Receive buffers that were taken off the ring and are too small so far for the frame that waits.
    held: VecDeque<Chain>,
    /// Bytes of room in `held`.
    held_room: u64,
    /// The frame that waits for buffers.
    waiting: Option<Frame>,
    dropped: Dropped,
}

/// Frames that reached nobody, for the log.
#[derive(Default)]
struct Dropped {
    malformed: RateLimit,
    unwanted: RateLimit,
}

/// What to do after a round.
enum Next {
    Again,
    /// Wait for anything to happen; `true`: for room in the stack too.
    Wait(bool),
    Stop,
}

/// Why a side stopped within a round.
#[derive(PartialEq, Eq)]
enum Pause {
    Done,
    NoBuffers,
    NobodyTakes,
    RoundOver,
}

/// The rings, the link, and who wakes whom.
pub(super) struct Service {
    rings: Mutex<Option<Rings>>,
    guest: GuestEnd,
    interrupt: Arc<dyn Interrupt>,
    kick: Arc<Kick>,
    doorbells: [Arc<Kick>; 2],
}

impl Service {
    /// Takes the rings into service; [`run`](Self::run) does the work.
    pub fn new(
        rx: Virtqueue,
        tx: Virtqueue,
        features: u64,
        guest: GuestEnd,
        interrupt: Arc<dyn Interrupt>,
    ) -> Arc<Self> {
        let doorbells = [Arc::clone(rx.kick()), Arc::clone(tx.kick())];
        let kick = Arc::new(Kick::default());
        guest.plug(Arc::clone(&kick), features);
        let rings =
            Rings { rx, tx, features, held: VecDeque::new(), held_room: 0, waiting: None, dropped: Dropped::default() };
        Arc::new(Self { rings: Mutex::new(Some(rings)), guest, interrupt, kick, doorbells })
    }

    /// Takes the rings away; waits for at most the rest of a round.
    pub fn stop(&self) {
        self.guest.unplug();
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.kick.signal();
    }

    /// Serves until [`stop`](Self::stop) or until the driver breaks a ring.
    pub async fn run(self: Arc<Self>) {
        loop {
            match self.round() {
                Next::Again => tokio::task::yield_now().await,
                Next::Wait(for_room) => self.wait(for_room).await,
                Next::Stop => break,
            }
        }
        // A doorbell that came here may be meant for the service that follows on the same rings.
        self.doorbells.iter().for_each(|doorbell| doorbell.signal());
    }

    async fn wait(&self, for_room: bool) {
        let room = async {
            match for_room {
                true => drop(self.guest.frames.reserve().await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.kick.notified() => {}
            () = self.doorbells[0].notified() => {}
            () = self.doorbells[1].notified() => {}
            () = room => {}
        }
    }

    fn round(&self) -> Next {
        let mut slot = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let _told = Panicking::tells("net", &*self.interrupt);
        let Some(rings) = slot.as_mut() else { return Next::Stop };
        rings.round(&self.guest).unwrap_or_else(|error| {
            tracing::warn!(device = "net", %error, "Device stopped: the driver broke the rules");
            *slot = None;
            // Still under our lock: the driver's reset waits for it, so none of this can hit the service that comes next.
            self.guest.unplug();
            self.interrupt.needs_reset();
            Next::Stop
        })
    }
}

impl Rings {
    fn round(&mut self, guest: &GuestEnd) -> Result<Next, QueueError> {
        self.tx.disable_doorbell()?;
        self.rx.disable_doorbell()?;
        let taken = self.take(guest)?;
        let given = self.give(guest)?;
        if taken == Pause::RoundOver || given == Pause::RoundOver {
            return Ok(Next::Again);
        }
        let more_to_take = taken == Pause::Done && self.tx.enable_doorbell()?;
        if more_to_take || (given == Pause::NoBuffers && self.rx.enable_doorbell()?) {
            return Ok(Next::Again);
        }
        Ok(Next::Wait(taken == Pause::NobodyTakes))
    }

    /// Frames of the guest, to the stack.
    fn take(&mut self, guest: &GuestEnd) -> Result<Pause, QueueError> {
        let mut pause = Pause::RoundOver;
        for _ in 0..ROUND {
            let room = match guest.frames.try_reserve() {
                Ok(room) => Some(room),
                Err(TrySendError::Full(())) => {
                    pause = Pause::NobodyTakes;
                    break;
                }
                // Nobody will ever take them: they go nowhere, as on a cable that is not plugged in.
                Err(TrySendError::Closed(())) => None,
            };
            let Some(chain) = self.tx.pop()? else {
                pause = Pause::Done;
                break;
            };
            let frame = self.read(&chain, guest.spares())?;
            self.tx.push(chain.head, 0)?;
            if let (Some(room), Some(frame)) = (room, frame) {
                room.send(frame);
            }
        }
        self.tx.publish()?;
        Ok(pause)
    }

    /// The frame in a chain; `None` if it is none.
    fn read(&mut self, chain: &Chain, spares: &Spares) -> Result<Option<Frame>, QueueError> {
        let length = chain.readable_len() as usize;
        let refused = match length.checked_sub(header::LENGTH) {
            Some(length @ ETHERNET..=LONGEST_FRAME) => {
                let mut wire = [0; header::LENGTH];
                let mut bytes = spares.take(length);
                copy_out(&self.tx, &chain.readable, &mut wire, &mut bytes)?;
                match Offload::parse(&wire, length, self.features) {
                    Ok(offload) => return Ok(Some(Frame { offload, bytes })),
                    Err(malformed) => malformed.to_string(),
                }
            }
            _ => format!("its length is {length}"),
        };
        if let Some(held_back) = self.dropped.malformed.allow() {
            tracing::warn!(reason = refused, held_back, "A frame of the guest was dropped");
        }
        Ok(None)
    }

    /// Frames of the stack, to the guest.
    fn give(&mut self, guest: &GuestEnd) -> Result<Pause, QueueError> {
        let mut pause = Pause::RoundOver;
        for _ in 0..ROUND {
            let Some(frame) = self.waiting.take().or_else(|| guest.next_frame()) else {
                pause = Pause::Done;
                break;
            };
            if !frame.offload.is_accepted(self.features) || frame.bytes.len() > LONGEST_FRAME {
                self.drop_unwanted("the driver has not negotiated what it needs");
                continue;
            }
            if !self.gather(header::LENGTH + frame.bytes.len())? {
                self.waiting = Some(frame);
                pause = Pause::NoBuffers;
                break;
            }
            self.write(&frame)?;
            guest.spares().put(frame.bytes);
        }
        self.rx.publish()?;
        Ok(pause)
    }

    fn drop_unwanted(&mut self, reason: &'static str) {
        if let Some(held_back) = self.dropped.unwanted.allow() {
            tracing::warn!(reason, held_back, "A frame for the guest was dropped");
        }
    }

    /// Takes buffers off the ring until `need` bytes fit; `false` if there are not enough. Without merging, one buffer has to
    /// be enough, and this says yes as soon as there is one.
    fn gather(&mut self, need: usize) -> Result<bool, QueueError> {
        let merge = self.features & F_MRG_RXBUF != 0;
        while self.held_room < need as u64 && (merge || self.held.is_empty()) {
            // A ring that is all in our hands will not bring more.
            if self.held.len() >= usize::from(self.rx.size()) {
                return Ok(true);
            }
            let Some(chain) = self.rx.pop()? else { return Ok(false) };
            self.held_room += chain.writable_len();
            self.held.push_back(chain);
        }
        Ok(true)
    }

    /// Puts a frame into the gathered buffers, as many as it needs, and gives these back all at once: a driver that sees the
    /// first expects the others to be there (§5.1.6.4).
    fn write(&mut self, frame: &Frame) -> Result<(), QueueError> {
        let mut left = header::LENGTH + frame.bytes.len();
        let merge = self.features & F_MRG_RXBUF != 0;
        if self.held_room < left as u64 {
            self.drop_unwanted("the driver's buffers are too small");
            let useless: Vec<_> = self.held.drain(..).map(|chain| (chain.head, 0)).collect();
            self.held_room = 0;
            return self.rx.push_all(&useless);
        }
        let (mut spans, mut done): (Vec<Span>, Vec<(u16, u32)>) = (Vec::new(), Vec::new());
        while left > 0 {
            let Some(chain) = self.held.pop_front() else { break };
            let room = chain.writable_len();
            self.held_room -= room;
            let written = left.min(usize::try_from(room).unwrap_or(usize::MAX));
            left -= written;
            spans.extend(&chain.writable);
            done.push((chain.head, written as u32));
            if !merge {
                break;
            }
        }
        let buffers = u16::try_from(done.len()).unwrap_or(u16::MAX);
        copy_in(&self.rx, &spans, &frame.offload.to_wire(buffers), &frame.bytes)?;
        self.rx.push_all(&done)
    }
}

/// Fills `first` and then `second` from `spans`.
fn copy_out(queue: &Virtqueue, spans: &[Span], first: &mut [u8], second: &mut [u8]) -> Result<(), QueueError> {
    let mut at = 0usize;
    for span in spans {
        // Up to two pieces: the header's rest and the frame's.
        let mut offset = 0;
        while offset < span.len as usize {
            let rest = match at.checked_sub(first.len()) {
                None => &mut first[at..],
                Some(at) => &mut second[at..],
            };
            let count = rest.len().min(span.len as usize - offset);
            if count == 0 {
                return Ok(());
            }
            queue.read(address(span, offset), &mut rest[..count])?;
            (at, offset) = (at + count, offset + count);
        }
    }
    Ok(())
}

/// Writes `first` and then `second` into `spans`, which are long enough.
fn copy_in(queue: &Virtqueue, spans: &[Span], first: &[u8], second: &[u8]) -> Result<(), QueueError> {
    let mut at = 0usize;
    for span in spans {
        let mut offset = 0;
        while offset < span.len as usize {
            let rest = match at.checked_sub(first.len()) {
                None => &first[at..],
                Some(at) => &second[at..],
            };
            let count = rest.len().min(span.len as usize - offset);
            if count == 0 {
                return Ok(());
            }
            queue.write(address(span, offset), &rest[..count])?;
            (at, offset) = (at + count, offset + count);
        }
    }
    Ok(())
}

/// A span lies within RAM, so no sum overflows.
fn address(span: &Span, offset: usize) -> vm_memory::GuestAddress {
    vm_memory::GuestAddress(span.addr.0 + offset as u64)
}
