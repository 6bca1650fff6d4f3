//! Protocol frames over a blocking socket: whole messages in, whole messages out, each with a deadline that a trickle of
//! bytes does not move. Called by `host` and `control`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use lighter_protocol::wire::{self, StreamFrame, WireError};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::ready;

/// The peer's frames cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("Connection failed")]
    Io(#[from] io::Error),
    /// Not this protocol.
    #[error("Peer does not speak the agent's protocol")]
    Wire(#[from] WireError),
    /// The deadline passed before a whole frame came or went.
    #[error("Peer was silent for too long")]
    TimedOut,
    /// The peer closed within a frame.
    #[error("Peer closed in the middle of a frame")]
    Cut,
}

impl From<Errno> for FrameError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A connection that carries frames.
pub struct Frames {
    socket: OwnedFd,
    received: Vec<u8>,
}

impl Frames {
    /// Frames on `socket`.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, received: Vec::new() }
    }

    /// The next message; `None` when the peer closed before one began.
    pub fn message<T: serde::de::DeserializeOwned>(&mut self, deadline: Instant) -> Result<Option<T>, FrameError> {
        loop {
            if let Some((message, length)) = wire::decode(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(message));
            }
            if !ready::wait(&self.socket, PollFlags::IN, deadline)? {
                return Err(FrameError::TimedOut);
            }
            if self.fill()? == Some(0) {
                return if self.received.is_empty() { Ok(None) } else { Err(FrameError::Cut) };
            }
        }
    }

    /// A stream frame that is wholly here already.
    pub fn stream_frame(&mut self) -> Result<Option<StreamFrame>, FrameError> {
        let Some((frame, length)) = wire::decode_stream(&self.received)? else { return Ok(None) };
        self.received.drain(..length);
        Ok(Some(frame))
    }

    /// Takes what has come without waiting: `Some(0)` at the end, `None` if nothing is there.
    pub fn fill(&mut self) -> Result<Option<usize>, FrameError> {
        self.received.reserve(16 * 1024);
        match recv(&self.socket, spare_capacity(&mut self.received), RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Like [`Self::fill`], for a peer that has nothing more to say: what comes is thrown away.
    pub fn discard(&mut self) -> Result<Option<usize>, FrameError> {
        let count = self.fill();
        self.received.clear();
        count
    }

    /// Ends our side and waits until the peer has ended its own, so that what it had under way does not reset the
    /// connection before it has read our last frame. A peer that keeps talking or stays open is left at the deadline.
    pub fn finish(&mut self, deadline: Instant) {
        let _gone_already = shutdown(&self.socket, Shutdown::Write);
        // `wait` is false at the deadline even if there is always one more byte.
        while let Ok(true) = ready::wait(&self.socket, PollFlags::IN, deadline) {
            if !matches!(self.discard(), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    /// Sends one message.
    pub fn send<T: serde::Serialize>(&mut self, message: &T, deadline: Instant) -> Result<(), FrameError> {
        self.send_bytes(&wire::encode(message)?, deadline)
    }

    /// Sends one stream frame.
    pub fn send_stream(&mut self, frame: &StreamFrame, deadline: Instant) -> Result<(), FrameError> {
        self.send_bytes(&wire::encode_stream(frame)?, deadline)
    }

    fn send_bytes(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !ready::wait(&self.socket, PollFlags::OUT, deadline)? {
                        return Err(FrameError::TimedOut);
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
