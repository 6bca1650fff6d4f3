//! The request's way, client to guest, while `exchange` waits for and passes on the answer.
//!
//! ```text
//!  Sending ── body complete ──▶ Watching ── client ends ──▶ (held until answered) ──▶ half-closed
//!     └────── client ends early ──▶ half-closed: dockerd finds the body cut short and says so
//! ```
//! dockerd takes an end of sending for "the client has gone" and cancels what it is doing, which is what must happen
//! to `events` or `logs -f` of a killed client. But a client that half-closes behind its request (`printf … | nc`) is
//! still there, and looks the same. So the end is held back until the answer has begun, for a little while.

use std::{convert::Infallible, future::pending, time::Duration};

use tokio::time::sleep;

use super::{
    body::{Body, BodyError},
    peer::{Inlet, Outlet},
};
use crate::guest::Stream;

/// How long an unanswered request keeps its client's end of sending to itself.
const HOLD: Duration = Duration::from_secs(5);

/// Why a request cannot go on.
#[derive(Debug)]
pub(super) enum Lost {
    /// The client was reset.
    Client,
    /// What it sends is no body.
    Malformed(BodyError),
}

/// One request on its way. Every method may be dropped while it waits and called again.
pub(super) struct Upload<'a, C, G> {
    client: &'a mut Inlet<C>,
    guest: &'a mut Outlet<G>,
    /// Bytes at the front of `client` that were checked and may go.
    ready: usize,
    body: Body,
    answered: bool,
}

impl<'a, C: Stream, G: Stream> Upload<'a, C, G> {
    /// `head` bytes at the front of `client` are the request's head.
    pub(super) fn new(client: &'a mut Inlet<C>, guest: &'a mut Outlet<G>, head: usize, body: Body) -> Self {
        Upload { client, guest, ready: head, body, answered: false }
    }

    /// The whole request has left the client.
    pub(super) fn complete(&self) -> bool {
        self.body.finished() && self.ready == 0
    }

    /// The answer has begun: the client's end of sending may pass.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// Sends the request, then watches for the client's end for as long as it is polled.
    pub(super) async fn run(&mut self) -> Result<Infallible, Lost> {
        self.send().await?;
        while !self.client.ended() {
            if self.client.is_full() {
                // Pipelined requests, or stdin ahead of its 101. They wait, and hide the end behind them.
                pending::<()>().await;
            }
            self.client.fill().await.map_err(|_| Lost::Client)?;
        }
        if self.client.is_empty() {
            if !self.answered {
                sleep(HOLD).await;
            }
            let _ = self.guest.close().await;
        }
        pending().await
    }

    /// Sends the request up to its end, or up to where the client ended it. A guest that takes no more has its reasons
    /// in its answer; what is left is then read and dropped, so that a client that writes first gets to reading it.
    pub(super) async fn send(&mut self) -> Result<(), Lost> {
        loop {
            self.ready += self.body.take(&self.client.bytes()[self.ready..]).map_err(Lost::Malformed)?;
            if self.guest.closed() {
                self.client.consume(self.ready);
                self.ready = 0;
            } else if self.guest.send(self.client, &mut self.ready).await.is_err() {
                continue;
            }
            if self.body.finished() {
                return Ok(());
            }
            if self.client.ended() {
                let _ = self.guest.close().await;
                return Ok(());
            }
            self.client.fill().await.map_err(|_| Lost::Client)?;
        }
    }
}
