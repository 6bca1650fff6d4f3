//! One vsock connection as a state machine without clock, ring or task: the guest's side of it. `muxer` feeds it packets and
//! asks it what to send next; the host's calls are in `endpoint`.
//!
//! ```text
//!  host dials                                guest dials
//!      │                                          │
//!  Requesting ──REQUEST sent──► (waits)       Answering
//!      │                          │               │ RESPONSE sent
//!      │                 RESPONSE │               ▼
//!      │                          └────────────► Open ◄──┐ each direction ends by itself:
//!      │ RST                                      │  │   │   guest→host  peer's SHUTDOWN(SEND) → end of file
//!      │                                          │  └───┘   host→guest  finish() → rest of tx → our SHUTDOWN(SEND)
//!      │                RST received,             │
//!      │                device reset              │ peer has shut down both, or broke a rule, or
//!      │                     ┌────────────────────┤ the handle went with unread bytes or did not get done in time
//!      ▼                     ▼                    ▼
//!   Closed(Refused)   Closed(Reset|Clean) ◄── Resetting: RST waits for room on the ring, for a while
//! ```
//!
//! Who answers whom follows Linux: whoever has received both SHUTDOWN bits answers RST, and whoever closes a socket sends
//! SHUTDOWN with both bits and waits for that RST, for a while.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::credit::{Allowance, WINDOW, Window};
use super::packet::{Header, Op, Payload, SHUTDOWN_BOTH, SHUTDOWN_RCV, SHUTDOWN_SEND};
use super::ring::ByteRing;
use crate::virtio::queue::QueueError;

/// Bytes that the host side may write ahead of the guest's credit and buffers.
pub const TX_LIMIT: usize = 128 * 1024;
/// Largest payload of one packet; Linux drops more than this.
const MAX_PAYLOAD: usize = 64 * 1024;
/// After SHUTDOWN with both bits the guest has this long to answer RST (Linux' own figure).
const CLOSE_WAIT: Duration = Duration::from_secs(8);
/// A dropped handle's last bytes are given up when the guest takes none of them for this long.
const FLUSH_WAIT: Duration = Duration::from_secs(60);

/// How a connection ended, for the host side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both directions were shut down.
    Clean,
    /// RST, a broken rule, or a reset of the device.
    Reset,
    /// The guest does not listen on that port.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Requesting { sent: bool },
    Answering,
    Open,
    Resetting(End),
    Closed(End),
}

/// What a connection wants to put on the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The operation.
    pub op: Op,
    /// SHUTDOWN flags.
    pub flags: u32,
    /// Payload bytes, from the front of the transmit buffer.
    pub len: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) phase: Phase,
    pub(super) attached: bool,
    pub(super) finish: bool,
    pub(super) peer_shutdown: u32,
    sent_shutdown: u32,
    pub(super) rx: ByteRing,
    pub(super) tx: ByteRing,
    pub(super) window: Window,
    allowance: Allowance,
    pub(super) owes_credit: bool,
    asked_credit: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Connection {
    /// The host dials: REQUEST is due.
    pub fn dialled() -> Self {
        Self::new(Phase::Requesting { sent: false })
    }

    /// The guest dials, by `request`: RESPONSE is due.
    pub fn answering(request: &Header) -> Self {
        let mut connection = Self::new(Phase::Answering);
        connection.allowance.learn(request.buf_alloc, request.fwd_cnt);
        connection
    }

    fn new(phase: Phase) -> Self {
        Self {
            phase,
            attached: true,
            finish: false,
            peer_shutdown: 0,
            sent_shutdown: 0,
            rx: ByteRing::new(WINDOW as usize),
            tx: ByteRing::new(TX_LIMIT),
            window: Window::default(),
            allowance: Allowance::default(),
            owes_credit: false,
            asked_credit: false,
            deadline: None,
            reader: None,
            writer: None,
        }
    }

    /// Whether the guest has not heard of this connection yet.
    pub fn is_unsent(&self) -> bool {
        self.phase == Phase::Requesting { sent: false }
    }

    /// Whether the guest may use the port pair for a new connection: we are only waiting for its last RST.
    pub fn is_leaving(&self) -> bool {
        self.phase == Phase::Open && self.sent_shutdown == SHUTDOWN_BOTH
    }

    /// Whether no packet belongs to this connection any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Whether it ended in order with bytes that nobody has read yet.
    pub fn has_last_words(&self) -> bool {
        self.phase == Phase::Closed(End::Clean) && !self.rx.is_empty()
    }

    /// Whether the host side still holds a handle.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether it waits for the guest no longer than to a deadline: its handle is gone, or its RST has no room on the ring.
    pub fn is_timed(&self) -> bool {
        self.deadline.is_some() || matches!(self.phase, Phase::Resetting(_))
    }

    /// Whether the guest has had its time; that of an RST begins when this is first asked.
    pub fn is_late(&mut self, now: Instant) -> bool {
        *self.deadline.get_or_insert(now + CLOSE_WAIT) <= now
    }

    /// Waits no longer. A guest that has no room even for an RST gets one when it speaks again.
    pub fn give_up(&mut self, wakes: &mut Vec<Waker>) {
        match self.phase {
            Phase::Resetting(end) => self.close(end, wakes),
            _ => self.abort(End::Reset, wakes),
        }
    }

    /// Whether it holds memory for bytes, used or not.
    pub fn holds_memory(&self) -> bool {
        self.rx.holds_memory() || self.tx.holds_memory()
    }

    /// Gives memory back that was not used since the last call; whether there is more that the next call may give back.
    pub fn rest(&mut self) -> bool {
        self.rx.rest() | self.tx.rest()
    }

    /// Handles a packet of the guest that is addressed to this connection.
    pub fn receive(
        &mut self,
        header: &Header,
        payload: &mut impl Payload,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), QueueError> {
        let op = Op::from_raw(header.op);
        match self.phase {
            Phase::Closed(_) => {}
            Phase::Resetting(end) => {
                if op == Some(Op::Rst) {
                    self.close(end, wakes);
                }
            }
            Phase::Requesting { .. } => match op {
                Some(Op::Response) => {
                    self.allowance.learn(header.buf_alloc, header.fwd_cnt);
                    self.phase = Phase::Open;
                    wakes.extend(self.writer.take());
                }
                Some(Op::Rst) => self.close(End::Refused, wakes),
                _ => self.abort(End::Reset, wakes),
            },
            Phase::Answering | Phase::Open => {
                self.allowance.learn(header.buf_alloc, header.fwd_cnt);
                self.asked_credit &= self.allowance.available() == 0;
                return self.receive_open(op, header, payload, wakes);
            }
        }
        Ok(())
    }

    fn receive_open(
        &mut self,
        op: Option<Op>,
        header: &Header,
        payload: &mut impl Payload,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), QueueError> {
        match op {
            Some(Op::Rw) => return self.receive_data(header.len, payload, wakes),
            Some(Op::CreditRequest) => self.owes_credit = true,
            Some(Op::CreditUpdate) => {}
            Some(Op::Shutdown) => {
                self.peer_shutdown |= header.flags & SHUTDOWN_BOTH;
                if self.peer_shutdown & SHUTDOWN_RCV != 0 {
                    self.tx.clear();
                    wakes.extend(self.writer.take());
                }
                if self.peer_shutdown & SHUTDOWN_SEND != 0 {
                    wakes.extend(self.reader.take());
                }
                if self.peer_shutdown == SHUTDOWN_BOTH {
                    self.abort(End::Clean, wakes);
                }
            }
            Some(Op::Rst) => self.close(End::Reset, wakes),
            Some(Op::Request | Op::Response) | None => self.abort(End::Reset, wakes),
        }
        Ok(())
    }

    fn receive_data(&mut self, len: u32, payload: &mut impl Payload, wakes: &mut Vec<Waker>) -> Result<(), QueueError> {
        let ended = self.peer_shutdown & SHUTDOWN_SEND != 0;
        if ended || u64::from(len) > payload.available() || !self.window.admit(len) {
            self.abort(End::Reset, wakes);
            return Ok(());
        }
        // Without a handle nobody reads: the bytes keep their place in the window, so there cannot be many.
        if self.attached && len > 0 {
            let (first, second) = self.rx.spare(len as usize);
            payload.copy_to(first)?;
            payload.copy_to(second)?;
            self.rx.commit(len as usize);
            wakes.extend(self.reader.take());
        }
        Ok(())
    }

    /// What to send next into a buffer with `room` bytes for payload.
    pub fn outgoing(&self, room: usize) -> Option<Outgoing> {
        let control = |op| Some(Outgoing { op, flags: 0, len: 0 });
        match self.phase {
            Phase::Requesting { sent: false } => return control(Op::Request),
            Phase::Requesting { sent: true } | Phase::Closed(_) => return None,
            Phase::Answering => return control(Op::Response),
            Phase::Resetting(_) => return control(Op::Rst),
            Phase::Open => {}
        }
        let shutdown = self.due_shutdown();
        if shutdown & !self.sent_shutdown != 0 {
            return Some(Outgoing { op: Op::Shutdown, flags: shutdown, len: 0 });
        }
        let credit = self.allowance.available();
        let len = self.tx.len().min(credit as usize).min(room).min(MAX_PAYLOAD);
        if len > 0 {
            return Some(Outgoing { op: Op::Rw, flags: 0, len });
        }
        if self.owes_credit {
            return control(Op::CreditUpdate);
        }
        if !self.tx.is_empty() && credit == 0 && !self.asked_credit {
            return control(Op::CreditRequest);
        }
        None
    }

    fn due_shutdown(&self) -> u32 {
        let receive = if self.attached { 0 } else { SHUTDOWN_RCV };
        let send = if self.finish && self.tx.is_empty() { SHUTDOWN_SEND } else { 0 };
        receive | send
    }

    /// The payload of an [`Outgoing`].
    pub fn payload(&self, len: usize) -> (&[u8], &[u8]) {
        self.tx.peek(len)
    }

    /// `(buf_alloc, fwd_cnt)` for the packet that is being sent.
    pub fn advertise(&mut self) -> (u32, u32) {
        self.window.advertise()
    }

    /// The packet is on the ring.
    pub fn sent(&mut self, packet: Outgoing, now: Instant, wakes: &mut Vec<Waker>) {
        self.owes_credit = false;
        match packet.op {
            Op::Request => self.phase = Phase::Requesting { sent: true },
            Op::Response => self.phase = Phase::Open,
            Op::Rst => {
                if let Phase::Resetting(end) = self.phase {
                    self.close(end, wakes);
                }
            }
            Op::Shutdown => self.sent_shutdown |= packet.flags,
            Op::Rw => {
                self.tx.consume(packet.len);
                self.allowance.spend(packet.len as u32);
                // Not at every packet: a writer that is woken for 4 KiB at a time does little else than wake.
                if self.tx.len() <= TX_LIMIT / 2 {
                    wakes.extend(self.writer.take());
                }
            }
            Op::CreditRequest => self.asked_credit = true,
            Op::CreditUpdate => {}
        }
        if self.deadline.is_some() && matches!(packet.op, Op::Rw | Op::Shutdown) {
            self.deadline = Some(now + self.patience());
        }
    }

    pub(super) fn patience(&self) -> Duration {
        if self.tx.is_empty() { CLOSE_WAIT } else { FLUSH_WAIT }
    }

    /// Ends the connection by RST as soon as the ring has room; does nothing if it has ended. Received bytes stay readable.
    pub fn abort(&mut self, end: End, wakes: &mut Vec<Waker>) {
        // The ports of one that has ended may be another's by now, which our RST would hit.
        if !self.is_closed() {
            self.end(Phase::Resetting(end), wakes);
        }
    }

    /// Ends the connection at once: nothing is sent any more. If it has ended already, it keeps the reason.
    pub fn close(&mut self, end: End, wakes: &mut Vec<Waker>) {
        let end = match self.phase {
            Phase::Resetting(first) | Phase::Closed(first) => first,
            _ => end,
        };
        self.end(Phase::Closed(end), wakes);
    }

    fn end(&mut self, phase: Phase, wakes: &mut Vec<Waker>) {
        self.phase = phase;
        self.deadline = None;
        self.tx.clear();
        wakes.extend(self.reader.take());
        wakes.extend(self.writer.take());
    }
}
