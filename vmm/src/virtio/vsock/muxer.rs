//! All connections of one guest: which packet belongs to which, and who sends next. Driven by `service` with packets from
//! the rings, by `host` with calls of the host side, and by tests and fuzz targets with neither ring nor task.
//!
//! Every bound on what a guest can make us hold is in this file's constants, in `strays` and in `credit::WINDOW`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use lighter_protocol::ports::HOST_CID;

use super::connection::{Connection, End};
use super::host::Listener;
use super::packet::{HEADER_LEN, Header, Op, Payload, TYPE_STREAM};
use super::strays::Strays;
use crate::rate_limit::RateLimit;
use crate::virtio::queue::QueueError;

/// Connections of both directions together, including those that wait for their last RST.
pub const MAX_CONNECTIONS: usize = 4096;
/// Connections that the guest opened, so that it cannot take all places.
pub const MAX_FROM_GUEST: usize = 1024;
/// Connections that wait in a listener for `accept`.
pub const MAX_BACKLOG: usize = 128;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Buffers that nothing went through between two looks, so long apart, give their memory back.
const REST: Duration = Duration::from_secs(10);

/// Names a connection for the life of the muxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(super) u64);

/// The two ports of a connection; both context ids are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub host: u32,
    pub guest: u32,
}

pub(super) struct Entry {
    pub ports: Ports,
    pub connection: Connection,
    pub from_guest: bool,
    queued: bool,
}

/// The state of the vsock device.
pub struct Muxer {
    guest_cid: u64,
    pub(super) entries: HashMap<Id, Entry>,
    pub(super) by_ports: HashMap<Ports, Id>,
    pub(super) listeners: HashMap<u32, Listener>,
    pub(super) from_guest: usize,
    pub(super) next_id: u64,
    pub(super) next_port: u32,
    pub(super) closed: bool,
    pub(super) wakes: Vec<Waker>,
    ready: VecDeque<Id>,
    strays: Strays,
    leaving: HashSet<Id>,
    clock: Instant,
    next_tick: Option<Instant>,
    /// Some connection may hold memory that it does not use.
    holding: bool,
    next_rest: Option<Instant>,
    attention: bool,
    dropped: RateLimit,
    broken: RateLimit,
}

impl Muxer {
    /// An empty muxer for the guest with this context id.
    pub fn new(guest_cid: u64) -> Self {
        Self {
            guest_cid,
            entries: HashMap::new(),
            by_ports: HashMap::new(),
            listeners: HashMap::new(),
            from_guest: 0,
            next_id: 0,
            next_port: super::host::FIRST_EPHEMERAL,
            closed: false,
            wakes: Vec::new(),
            ready: VecDeque::new(),
            strays: Strays::default(),
            leaving: HashSet::new(),
            clock: Instant::now(),
            next_tick: None,
            holding: false,
            next_rest: None,
            attention: false,
            dropped: RateLimit::default(),
            broken: RateLimit::default(),
        }
    }

    /// Number of connections held, whatever their state.
    pub fn connections(&self) -> usize {
        self.entries.len()
    }

    /// Handles one packet of the guest. Errors only come from `payload`.
    pub fn receive(&mut self, header: &Header, mut payload: impl Payload) -> Result<(), QueueError> {
        if header.src_cid != self.guest_cid || header.dst_cid != HOST_CID || header.kind != TYPE_STREAM {
            self.stray(header);
            return Ok(());
        }
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        let request = header.op == Op::Request as u16;
        let Some(id) = self.find(ports, request) else {
            if request {
                self.request(ports, header);
            } else {
                self.stray(header);
            }
            return Ok(());
        };
        let entry = self.entries.get_mut(&id).expect("by_ports names live entries only");
        entry.connection.receive(header, &mut payload, &mut self.wakes)?;
        self.settle(id);
        Ok(())
    }

    /// A packet that the guest sent is too short or too strange to have a header.
    pub fn note_malformed(&mut self) {
        self.warn_dropped("malformed packet");
    }

    fn find(&mut self, ports: Ports, request: bool) -> Option<Id> {
        let id = *self.by_ports.get(&ports)?;
        let entry = self.entries.get_mut(&id)?;
        if entry.connection.is_unsent() {
            return None;
        }
        if request && entry.connection.is_leaving() {
            // Linux frees the port pair before it sends the last RST, so this is a new connection.
            entry.connection.close(End::Clean, &mut self.wakes);
            self.settle(id);
            return None;
        }
        Some(id)
    }

    fn request(&mut self, ports: Ports, header: &Header) {
        let full = self.entries.len() >= MAX_CONNECTIONS || self.from_guest >= MAX_FROM_GUEST;
        let waiting = self.listeners.get(&ports.host).map(|listener| listener.backlog.len());
        if full || waiting.is_none_or(|waiting| waiting >= MAX_BACKLOG) || self.by_ports.contains_key(&ports) {
            self.stray(header);
            return;
        }
        let id = self.insert(ports, Connection::answering(header), true);
        if let Some(listener) = self.listeners.get_mut(&ports.host) {
            listener.backlog.push_back(id);
            self.wakes.extend(listener.waker.take());
        }
    }

    fn stray(&mut self, header: &Header) {
        if self.strays.owe(header, self.guest_cid) {
            self.attention |= !self.strays.is_empty();
        } else {
            self.warn_dropped("too many refusals are waiting for the guest");
        }
    }

    fn warn_dropped(&mut self, reason: &'static str) {
        if let Some(suppressed) = self.dropped.allow() {
            tracing::warn!(reason, suppressed, "vsock packet of the guest dropped");
        }
    }

    /// Whether [`next`](Self::next) has something to send into an ordinary buffer.
    pub fn has_output(&mut self) -> bool {
        while let Some(&id) = self.ready.front() {
            if self.entries.get(&id).is_some_and(|entry| entry.connection.outgoing(usize::MAX).is_some()) {
                return true;
            }
            self.unready();
        }
        !self.strays.is_empty()
    }

    /// Hands the next packet to `put`, as header and two halves of payload, for a buffer of `room` bytes. Returns the bytes
    /// used; `None` if there is nothing that fits. Connections take turns, one packet each, and stray RSTs take every
    /// second turn.
    pub fn next(
        &mut self,
        room: usize,
        put: impl FnOnce(&Header, &[u8], &[u8]) -> Result<(), QueueError>,
    ) -> Result<Option<usize>, QueueError> {
        let Some(room) = room.checked_sub(HEADER_LEN) else { return Ok(None) };
        let busy = self.has_output() && !self.ready.is_empty();
        if let Some(header) = self.strays.next(busy) {
            put(&header, &[], &[])?;
            return Ok(Some(HEADER_LEN));
        }
        let Some(&id) = self.ready.front() else { return Ok(None) };
        let entry = self.entries.get_mut(&id).expect("has_output has dropped stale names");
        let Some(packet) = entry.connection.outgoing(room) else { return Ok(None) };
        let (buf_alloc, fwd_cnt) = entry.connection.advertise();
        let header = Header {
            src_cid: HOST_CID,
            src_port: entry.ports.host,
            dst_cid: self.guest_cid,
            dst_port: entry.ports.guest,
            len: packet.len as u32,
            kind: TYPE_STREAM,
            op: packet.op as u16,
            flags: packet.flags,
            buf_alloc,
            fwd_cnt,
        };
        let (first, second) = entry.connection.payload(packet.len);
        put(&header, first, second)?;
        entry.connection.sent(packet, self.clock, &mut self.wakes);
        self.unready();
        self.settle(id);
        Ok(Some(HEADER_LEN + packet.len))
    }

    fn unready(&mut self) {
        if let Some(entry) = self.ready.pop_front().and_then(|id| self.entries.get_mut(&id)) {
            entry.queued = false;
        }
    }

    pub(super) fn insert(&mut self, ports: Ports, connection: Connection, from_guest: bool) -> Id {
        let id = Id(self.next_id);
        self.next_id += 1;
        self.from_guest += usize::from(from_guest);
        self.by_ports.insert(ports, id);
        self.entries.insert(id, Entry { ports, connection, from_guest, queued: false });
        self.settle(id);
        id
    }

    /// Brings the tables in line with a connection that has just changed. Every change ends here.
    pub(super) fn settle(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let timed = entry.connection.is_timed();
        if entry.connection.holds_memory() && !self.holding {
            // For the service to come back when it may be given back.
            (self.holding, self.attention) = (true, true);
        }
        if entry.connection.outgoing(usize::MAX).is_some() && !entry.queued {
            entry.queued = true;
            self.ready.push_back(id);
            self.attention = true;
            self.compact_ready();
        }
        if timed {
            self.leaving.insert(id);
        } else {
            self.leaving.remove(&id);
        }
        let Some(entry) = self.entries.get(&id) else { return };
        if !entry.connection.is_closed() {
            return;
        }
        let (ports, attached, from_guest) = (entry.ports, entry.connection.is_attached(), entry.from_guest);
        if self.by_ports.get(&ports) == Some(&id) {
            self.by_ports.remove(&ports);
        }
        // What the guest said before it closed is for whoever accepts, as with a socket. It keeps its place in the backlog.
        let last_words = entry.connection.has_last_words();
        let waiting = from_guest
            && !last_words
            && self.listeners.get_mut(&ports.host).is_some_and(|listener| listener.forget(id));
        if waiting || !attached {
            self.entries.remove(&id);
            self.from_guest -= usize::from(from_guest);
        }
    }

    /// Drops names of connections that are gone once they outnumber the others: those behind a connection that cannot send
    /// would pile up.
    fn compact_ready(&mut self) {
        if self.ready.len() > 2 * self.entries.len() + 64 {
            self.ready.retain(|id| self.entries.contains_key(id));
        }
    }

    /// Resets connections whose guest has had its time, and lets idle ones give their memory back. Cheap when called often.
    pub fn advance(&mut self, now: Instant) {
        self.clock = now;
        self.rest(now);
        if self.leaving.is_empty() {
            self.next_tick = None;
            return;
        }
        if self.next_tick.is_some_and(|tick| now < tick) {
            return;
        }
        self.next_tick = Some(now + TICK);
        let leaving: Vec<Id> = self.leaving.iter().copied().collect();
        for id in leaving {
            let Some(entry) = self.entries.get_mut(&id) else {
                self.leaving.remove(&id);
                continue;
            };
            if entry.connection.is_late(now) {
                entry.connection.give_up(&mut self.wakes);
                self.settle(id);
            }
        }
    }

    fn rest(&mut self, now: Instant) {
        if !self.holding {
            self.next_rest = None;
            return;
        }
        if now < *self.next_rest.get_or_insert(now + REST) {
            return;
        }
        self.holding = self.entries.values_mut().fold(false, |more, entry| entry.connection.rest() | more);
        self.next_rest = self.holding.then(|| now + REST);
    }

    /// When [`advance`](Self::advance) is due, if it is.
    pub fn deadline(&self) -> Option<Instant> {
        let tick = (!self.leaving.is_empty()).then(|| self.next_tick.unwrap_or(self.clock));
        let rest = self.holding.then(|| self.next_rest.unwrap_or(self.clock + REST));
        tick.into_iter().chain(rest).min()
    }

    /// The driver reset the device: every connection that it knew of is gone, and nothing is owed to it.
    pub fn reset(&mut self) {
        self.strays.clear();
        let known: Vec<Id> =
            self.entries.iter().filter(|(_, entry)| !entry.connection.is_unsent()).map(|(id, _)| *id).collect();
        for id in known {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.close(End::Reset, &mut self.wakes);
            }
            self.settle(id);
        }
    }

    /// The driver broke a ring, which ends everything as [`reset`](Self::reset) does.
    pub fn break_down(&mut self, error: &QueueError) {
        if let Some(suppressed) = self.broken.allow() {
            tracing::warn!(%error, suppressed, "vsock stopped until the guest resets it");
        }
        self.reset();
    }

    /// Names of connections waiting for their turn, those of dead ones included.
    #[cfg(test)]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the note that something has become sendable since this was last asked.
    pub fn take_attention(&mut self) -> bool {
        std::mem::take(&mut self.attention)
    }

    /// Takes the tasks to be woken, to be done without holding a lock on the muxer.
    pub fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }
}
