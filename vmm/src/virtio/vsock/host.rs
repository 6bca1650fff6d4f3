//! The host side of the muxer: dial, listen, accept, read, write, finish, release. Called by `handle` and `stream` under
//! their lock, and by the model tests without one.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use super::connection::{Connection, End};
use super::endpoint::Ended;
use super::muxer::{Id, MAX_CONNECTIONS, Muxer, Ports};

/// Ports that dials come from: they count up from here and are not used again before 2^30 and more others were.
pub const FIRST_EPHEMERAL: u32 = 1 << 30;
/// `VMADDR_PORT_ANY`, which names no port.
const PORT_ANY: u32 = u32::MAX;

/// A port that the guest may dial.
pub(super) struct Listener {
    /// Tells one listener on a port from its successor.
    pub token: u64,
    pub backlog: VecDeque<Id>,
    pub waker: Option<Waker>,
}

impl Listener {
    /// Drops a connection that ended, with nothing to be read, before it was accepted; whether it was waiting here.
    pub fn forget(&mut self, id: Id) -> bool {
        let before = self.backlog.len();
        self.backlog.retain(|waiting| *waiting != id);
        self.backlog.len() != before
    }
}

/// A dial that cannot even be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// The device is gone for good.
    Closed,
    /// [`MAX_CONNECTIONS`] are open.
    Full,
}

impl Muxer {
    /// Begins to dial guest port `port`; the request waits if no driver is there yet.
    pub fn connect(&mut self, port: u32) -> Result<Id, ConnectError> {
        if self.closed {
            return Err(ConnectError::Closed);
        }
        if self.connections() >= MAX_CONNECTIONS {
            return Err(ConnectError::Full);
        }
        let ports = Ports { host: self.ephemeral(port), guest: port };
        Ok(self.insert(ports, Connection::dialled(), false))
    }

    fn ephemeral(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = if host + 1 == PORT_ANY { FIRST_EPHEMERAL } else { host + 1 };
            // Ends: there are more ports than connections and listeners.
            if !self.by_ports.contains_key(&Ports { host, guest }) && !self.listeners.contains_key(&host) {
                return host;
            }
        }
    }

    /// `None` while the guest has not answered the dial.
    pub fn poll_connected(&mut self, id: Id, waker: &Waker) -> Option<Result<(), End>> {
        match self.entries.get_mut(&id) {
            Some(entry) => entry.connection.poll_connected(waker),
            None => Some(Err(End::Reset)),
        }
    }

    /// Whether the dial's request has not even been put on a ring.
    pub fn is_unsent(&self, id: Id) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.connection.is_unsent())
    }

    /// Lets the guest dial host port `port`. A listener that was there before gets nothing any more.
    pub fn listen(&mut self, port: u32) -> u64 {
        let token = self.next_id;
        self.next_id += 1;
        let listener = Listener { token, backlog: VecDeque::new(), waker: None };
        if let Some(old) = self.listeners.insert(port, listener) {
            self.discard(old);
        }
        token
    }

    /// Ends the listener with this token: what nobody has accepted is reset.
    pub fn unlisten(&mut self, port: u32, token: u64) {
        if self.listeners.get(&port).is_some_and(|listener| listener.token == token)
            && let Some(listener) = self.listeners.remove(&port)
        {
            self.discard(listener);
        }
    }

    fn discard(&mut self, listener: Listener) {
        self.wakes.extend(listener.waker);
        for id in listener.backlog {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.abort(End::Reset, &mut self.wakes);
                entry.connection.release(Instant::now(), &mut self.wakes);
            }
            self.settle(id);
        }
    }

    /// The next connection of the guest, `Some(None)` when there will be none any more, `None` when it has to be waited for.
    pub fn accept(&mut self, port: u32, token: u64, waker: &Waker) -> Option<Option<Id>> {
        let listener = self.listeners.get_mut(&port).filter(|listener| listener.token == token);
        let Some(listener) = listener else { return Some(None) };
        if let Some(id) = listener.backlog.pop_front() {
            return Some(Some(id));
        }
        if self.closed {
            return Some(None);
        }
        listener.waker = Some(waker.clone());
        None
    }

    /// See [`Connection::read`].
    pub fn read(&mut self, id: Id, want: usize, waker: &Waker, take: impl FnMut(&[u8])) -> Option<Result<(), Ended>> {
        let Some(entry) = self.entries.get_mut(&id) else { return Some(Err(Ended::Reset)) };
        let outcome = entry.connection.read(want, waker, take);
        self.settle(id);
        outcome
    }

    /// See [`Connection::write`].
    pub fn write(&mut self, id: Id, data: &[u8], waker: &Waker) -> Option<Result<usize, Ended>> {
        let Some(entry) = self.entries.get_mut(&id) else { return Some(Err(Ended::Reset)) };
        let outcome = entry.connection.write(data, waker);
        self.settle(id);
        outcome
    }

    /// See [`Connection::finish`].
    pub fn finish(&mut self, id: Id) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connection.finish();
        }
        self.settle(id);
    }

    /// The handle of `id` is gone; see [`Connection::release`].
    pub fn release(&mut self, id: Id, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connection.release(now, &mut self.wakes);
        }
        self.settle(id);
    }

    /// The device goes away for good: no dial succeeds, no listener waits, every connection is reset.
    pub fn close(&mut self) {
        self.closed = true;
        self.reset();
        let unsent: Vec<Id> = self.entries.keys().copied().collect();
        for id in unsent {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.close(End::Reset, &mut self.wakes);
            }
            self.settle(id);
        }
        for listener in self.listeners.values_mut() {
            self.wakes.extend(listener.waker.take());
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}
