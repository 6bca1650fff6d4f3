//! Joins two stream sockets, each direction ended by itself: the end of one side's bytes becomes the end of the other
//! side's input, and a side that reads no more stops the other's sending. Called by `accept` for each API connection.
//!
//! One direction, from `source` to `sink`:
//! ```text
//!            bytes read             all written
//!   Empty ──────────────▶ Holding ──────────────▶ Empty
//!     │ source ended          │ sink takes no more
//!     ▼                       ▼
//!   Done: shutdown(sink, write)   Done: shutdown(source, read)      (from either state)
//! ```
//! A buffer is read only when it is empty, so a slow reader holds its writer back. Waiting is edge-triggered: after each
//! edge everything that could move is tried, so a hang-up of a side that nothing waits for can neither be missed nor spin.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// As much as one vsock credit window's quarter; a connection holds two of these at most, and only what it uses.
const BUFFER: usize = 64 * 1024;
/// How many buffers one direction may move before the other has its turn.
const TURN: usize = 16;

/// Copies both ways until both directions have ended, or one side broke off (which then breaks off the other). The bytes
/// moved: from `a` to `b`, from `b` to `a`.
pub fn relay(a: OwnedFd, b: OwnedFd) -> io::Result<(u64, u64)> {
    let wake = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    for (index, side) in [&a, &b].into_iter().enumerate() {
        epoll::add(&wake, side, epoll::EventData::new_u64(index as u64), edges)?;
    }
    let mut there = Direction::new(a.as_fd(), b.as_fd());
    let mut back = Direction::new(b.as_fd(), a.as_fd());
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
    loop {
        while there.turn() | back.turn() {}
        if there.broken || back.broken || (there.done && back.done) {
            return Ok((there.moved, back.moved));
        }
        match epoll::wait(&wake, &mut events[..], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

struct Direction<'a> {
    source: BorrowedFd<'a>,
    sink: BorrowedFd<'a>,
    buffer: Vec<u8>,
    written: usize,
    moved: u64,
    done: bool,
    broken: bool,
}

/// What one attempt came to.
enum Step {
    Moved,
    Blocked,
    SourceEnded,
    SinkClosed,
    /// The source broke off: its bytes so far must not look like all of them.
    Reset,
}

impl<'a> Direction<'a> {
    fn new(source: BorrowedFd<'a>, sink: BorrowedFd<'a>) -> Self {
        Self { source, sink, buffer: Vec::with_capacity(BUFFER), written: 0, moved: 0, done: false, broken: false }
    }

    /// Moves what can be moved without waiting. `true` if the turn ended before the bytes did.
    fn turn(&mut self) -> bool {
        if self.done {
            return false;
        }
        for _ in 0..TURN {
            match self.step() {
                Step::Moved => {}
                Step::Blocked => return false,
                Step::SourceEnded => return self.finish(self.sink, Shutdown::Write),
                Step::Reset => {
                    self.broken = true;
                    return false;
                }
                Step::SinkClosed => return self.finish(self.source, Shutdown::Read),
            }
        }
        true
    }

    /// Tells the side that is left. Failure means that it is gone already, which says the same.
    fn finish(&mut self, side: BorrowedFd<'_>, how: Shutdown) -> bool {
        let _already_gone = shutdown(side, how);
        self.done = true;
        self.buffer = Vec::new();
        false
    }

    fn step(&mut self) -> Step {
        // With nothing to write, an empty write still tells whether the sink takes bytes at all.
        match send(self.sink, &self.buffer[self.written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                self.written += count;
                self.moved += count as u64;
            }
            Err(Errno::INTR) => return Step::Moved,
            Err(Errno::AGAIN) if !self.buffer.is_empty() => return Step::Blocked,
            Err(Errno::AGAIN) => {}
            Err(_) => return Step::SinkClosed,
        }
        if self.written < self.buffer.len() {
            return Step::Moved;
        }
        self.buffer.clear();
        self.written = 0;
        match recv(self.source, spare_capacity(&mut self.buffer), RecvFlags::DONTWAIT) {
            Ok((0, _)) => Step::SourceEnded,
            Ok(_) => Step::Moved,
            Err(Errno::AGAIN) => Step::Blocked,
            Err(Errno::INTR) => Step::Moved,
            Err(_) => Step::Reset,
        }
    }
}
