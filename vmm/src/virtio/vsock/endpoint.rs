//! The host side of one connection: what a [`GuestStream`](super::GuestStream) asks of it. Called by `host`; the states are
//! those drawn in `connection`.

use std::task::Waker;
use std::time::Instant;

use super::connection::{Connection, End, Phase};
use super::packet::{SHUTDOWN_RCV, SHUTDOWN_SEND};

/// Outcome of a host-side read or write that does not have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Reading: end of file. Writing: the guest takes no more, or the host side itself has finished.
    Clean,
    /// The connection was reset.
    Reset,
}

impl Connection {
    /// Dial: `None` while the guest has not answered.
    pub fn poll_connected(&mut self, waker: &Waker) -> Option<Result<(), End>> {
        match self.phase {
            Phase::Requesting { .. } => {
                self.writer = Some(waker.clone());
                None
            }
            Phase::Answering | Phase::Open => Some(Ok(())),
            // Opened and shut down before the dialler looked: its bytes and its end of file can still be read.
            Phase::Resetting(End::Clean) | Phase::Closed(End::Clean) => Some(Ok(())),
            Phase::Resetting(end) | Phase::Closed(end) => Some(Err(end)),
        }
    }

    /// Gives up to `want` received bytes to `take` and forgets them. `None`: nothing yet. Bytes that came before the end, or
    /// before a reset, are delivered before it is reported.
    pub fn read(&mut self, want: usize, waker: &Waker, mut take: impl FnMut(&[u8])) -> Option<Result<(), Ended>> {
        if !self.rx.is_empty() {
            let (first, second) = self.rx.peek(want);
            let count = first.len() + second.len();
            take(first);
            take(second);
            self.rx.consume(count);
            self.owes_credit |= self.window.forward(count as u32) && self.peer_shutdown & SHUTDOWN_SEND == 0;
            return Some(Ok(()));
        }
        if self.peer_shutdown & SHUTDOWN_SEND != 0 {
            return Some(Err(Ended::Clean));
        }
        match self.phase {
            Phase::Resetting(End::Clean) | Phase::Closed(End::Clean) => Some(Err(Ended::Clean)),
            Phase::Resetting(_) | Phase::Closed(_) => Some(Err(Ended::Reset)),
            _ => {
                self.reader = Some(waker.clone());
                None
            }
        }
    }

    /// Takes as much of `data` as fits. `None`: no room yet.
    pub fn write(&mut self, data: &[u8], waker: &Waker) -> Option<Result<usize, Ended>> {
        match self.phase {
            Phase::Resetting(End::Clean) | Phase::Closed(End::Clean) => return Some(Err(Ended::Clean)),
            Phase::Resetting(_) | Phase::Closed(_) => return Some(Err(Ended::Reset)),
            _ if self.finish || self.peer_shutdown & SHUTDOWN_RCV != 0 => return Some(Err(Ended::Clean)),
            _ if data.is_empty() => return Some(Ok(0)),
            _ => {}
        }
        match self.tx.append(data) {
            0 => {
                self.writer = Some(waker.clone());
                None
            }
            count => Some(Ok(count)),
        }
    }

    /// The host side writes no more: SHUTDOWN(SEND) follows what it has written.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// The host side has dropped its handle. What it has written still goes out; what it has not read is a reason to reset.
    pub fn release(&mut self, now: Instant, wakes: &mut Vec<Waker>) {
        self.attached = false;
        self.finish = true;
        (self.reader, self.writer) = (None, None);
        match self.phase {
            Phase::Requesting { sent: false } => self.close(End::Reset, wakes),
            Phase::Requesting { sent: true } => self.abort(End::Reset, wakes),
            Phase::Answering | Phase::Open if !self.rx.is_empty() => self.abort(End::Reset, wakes),
            Phase::Answering | Phase::Open => self.deadline = Some(now + self.patience()),
            Phase::Resetting(_) | Phase::Closed(_) => {}
        }
        self.rx.clear();
    }
}
