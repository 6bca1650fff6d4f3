//! A connection as a stream of bytes over a pipe of messages, which is the kind that can be closed in one direction: a message
//! of no bytes is the end of what a side sends, as docker clients mean and expect it. Made by `Listener::accept` and `connect`.
//!
//! ```text
//!   sending:    Open ── shutdown ──▶ Draining (the other side reads what is there) ──▶ Marking (the empty message) ──▶ Ended
//!   receiving:  open ── empty message, or the other side is gone, or silent for LINGER while our sending is Ended ──▶ ended
//! ```
//! - The draining matters to a client that reads the pipe as bytes: Windows gives it the empty message as an end only if that is
//!   all there is in the pipe, and drops it behind other bytes.
//! - The lingering matters to clients that take the empty message for nothing (Node, .NET) and would wait for ever for the end
//!   that we wait for as well. That of the whole pipe they understand; what they have not read yet, Windows keeps for them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer};
use tokio::time::{Sleep, sleep};

use super::drain::Drain;

/// How long a client may be silent after the end of what we send.
const LINGER: Duration = Duration::from_secs(1);
/// Longest message that we write, in bytes: it is copied, and counted whole until it is read.
const LONGEST: usize = 64 << 10;

/// Which end of a pipe it is.
#[derive(Debug)]
pub(super) enum Pipe {
    /// We listened.
    Server(NamedPipeServer),
    /// We connected.
    Client(NamedPipeClient),
}

macro_rules! either {
    ($pipe:expr, $end:ident => $call:expr) => {
        match $pipe {
            Pipe::Server($end) => $call,
            Pipe::Client($end) => $call,
        }
    };
}

#[derive(Debug)]
enum Sending {
    Open,
    Draining(Drain),
    Marking,
    Ended,
}

/// One connection, either end.
#[derive(Debug)]
pub struct Stream {
    pipe: Pipe,
    sending: Sending,
    /// The other side sends nothing any more.
    ended: bool,
    /// Runs while only the other side could still have something to say.
    linger: Option<Pin<Box<Sleep>>>,
    /// Who waits for bytes, to be told when the lingering begins.
    reader: Option<Waker>,
}

impl Stream {
    pub(super) fn new(pipe: Pipe) -> Stream {
        Stream { pipe, sending: Sending::Open, ended: false, linger: None, reader: None }
    }

    /// The end of the pipe.
    pub(super) fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Nothing came: whether that is the end.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A server may think about an answer for as long as it likes.
        if !matches!((&self.pipe, &self.sending), (Pipe::Server(_), Sending::Ended)) {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        ready!(linger.as_mut().poll(cx));
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = either!(&mut this.pipe, end => Pin::new(end).poll_read(cx, buffer));
        if read.is_pending() {
            return this.poll_linger(cx);
        }
        this.linger = None;
        // What is read behind the end is another one at best, and the failure of a pipe that is gone at worst.
        this.ended = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.sending, Sending::Open) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            // It would be the end.
            return Poll::Ready(Ok(0));
        }
        let message = &bytes[..bytes.len().min(LONGEST)];
        either!(&mut this.pipe, end => Pin::new(end).poll_write(cx, message))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.get_mut().pipe, end => Pin::new(end).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.sending {
                Sending::Open => this.sending = Sending::Draining(either!(&this.pipe, end => Drain::of(end))?),
                Sending::Draining(drain) => {
                    ready!(drain.poll(cx));
                    this.sending = Sending::Marking;
                }
                Sending::Marking => {
                    ready!(either!(&mut this.pipe, end => Pin::new(end).poll_write(cx, &[])))?;
                    this.sending = Sending::Ended;
                    this.reader.take().into_iter().for_each(Waker::wake);
                }
                Sending::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}
