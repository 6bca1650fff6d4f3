//! One side of a proxied connection, the client or the guest: what was read from it and not yet passed on, and whether
//! either direction has ended. `exchange` and `hijack` move bytes between two of these; every wait here may be dropped
//! and begun again without losing a byte, which is what lets both directions run in one task.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::head::{self, HeadError};
use crate::guest::Stream;

/// What a quiet connection keeps, in bytes.
const IDLE_BUFFER: usize = 8 << 10;
/// What a busy direction grows to, in bytes. Only a head may need more.
const BUSY_BUFFER: usize = 64 << 10;

/// A stream in two halves.
pub(super) struct Peer<S> {
    pub(super) inlet: Inlet<S>,
    pub(super) outlet: Outlet<S>,
}

impl<S: Stream> Peer<S> {
    pub(super) fn new(stream: S) -> Peer<S> {
        let (read, write) = tokio::io::split(stream);
        Peer {
            inlet: Inlet { stream: read, storage: Vec::new(), start: 0, end: 0, ended: false },
            outlet: Outlet { stream: write, closed: false },
        }
    }
}

/// The reading half with the bytes that wait to be passed on.
pub(super) struct Inlet<S> {
    stream: ReadHalf<S>,
    storage: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

/// Why no head came.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The peer is gone, or ended its sending first.
    Ended,
    Malformed(HeadError),
}

impl<S: Stream> Inlet<S> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The peer sends nothing any more; there may still be [`bytes`](Self::bytes).
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Enough is waiting here.
    pub(super) fn is_full(&self) -> bool {
        self.bytes().len() >= BUSY_BUFFER
    }

    /// Drops the first `count` bytes, which went on their way.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Puts other bytes in the place of the first `count`.
    pub(super) fn replace(&mut self, count: usize, bytes: &[u8]) {
        debug_assert!(count <= self.bytes().len());
        self.storage.truncate(self.end);
        self.storage.splice(..self.start + count, bytes.iter().copied());
        (self.start, self.end) = (0, self.storage.len());
    }

    /// Gives back what a burst needed.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.storage.len() > IDLE_BUFFER {
            self.storage = Vec::new();
        }
    }

    /// Waits for more bytes, or for the end, which [`ended`](Self::ended) tells. There is always room for some: an
    /// empty inlet has at most [`BUSY_BUFFER`], and who keeps bytes back looks at [`is_full`](Self::is_full) or, for
    /// heads, has [`MAX_HEAD`](head::MAX_HEAD).
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.make_room();
        let room = self.storage.len() - self.end;
        let count = self.stream.read(&mut self.storage[self.end..]).await?;
        self.ended = count == 0;
        self.end += count;
        if count == room && self.start == 0 && self.storage.len() < BUSY_BUFFER {
            // It came faster than we took it: take more at a time.
            self.storage.resize(self.storage.len() * 2, 0);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.is_empty() && self.storage.len() > BUSY_BUFFER {
            self.storage.truncate(BUSY_BUFFER);
            self.storage.shrink_to_fit();
        }
        if self.end < self.storage.len() {
            return;
        }
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.storage.resize((self.storage.len() * 2).max(IDLE_BUFFER), 0);
        }
    }

    /// Waits for a complete head at the front of [`bytes`](Self::bytes) and returns its length.
    pub(super) async fn head(&mut self) -> Result<usize, NoHead> {
        let mut seen = 0;
        loop {
            if let Some(length) = head::end(self.bytes(), &mut seen).map_err(NoHead::Malformed)? {
                return Ok(length);
            }
            self.fill().await.map_err(|_| NoHead::Ended)?;
            if self.ended {
                return Err(NoHead::Ended);
            }
        }
    }
}

/// The writing half.
pub(super) struct Outlet<S> {
    stream: WriteHalf<S>,
    closed: bool,
}

impl<S: Stream> Outlet<S> {
    /// Takes no more bytes: half-closed by us, or broken.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Passes on the first `left` bytes of `from`, counting `left` down; on failure this half is closed.
    pub(super) async fn send<F: Stream>(&mut self, from: &mut Inlet<F>, left: &mut usize) -> io::Result<()> {
        while *left > 0 {
            let result = self.stream.write(&from.bytes()[..*left]).await;
            let count = result.and_then(|n| if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) });
            let count = count.inspect_err(|_| self.closed = true)?;
            from.consume(count);
            *left -= count;
        }
        Ok(())
    }

    /// Writes bytes of our own.
    pub(super) async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await.inspect_err(|_| self.closed = true)
    }

    /// Half-closes: the peer reads to the end of what was sent. Done at most once.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        if !self.closed {
            self.stream.shutdown().await.inspect_err(|_| self.closed = true)?;
            self.closed = true;
        }
        Ok(())
    }
}
