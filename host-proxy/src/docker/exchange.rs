//! One request and its answer, both streamed, each at the pace of its reader. `serve_connection` calls [`run`] for
//! one after the other.
//!
//! ```text
//!  Asking ── 1xx ──▶ Asking            (passed on at once: 100-continue)
//!    ├── 101 or raw 200 ──▶ hijack     (bytes both ways)
//!    └── final head ──▶ Answering ──▶ rest of the request, if any ──▶ next request
//! ```
//! The request's way (`upload`) runs beside every one of these waits.

use std::future::Future;

use super::{
    body::Body,
    hijack,
    peer::{Inlet, NoHead, Outlet, Peer},
    refusal::Refusal,
    request::Request,
    response::{self, Answer, Next},
    upload::{Lost, Upload},
};
use crate::guest::Stream;

/// What becomes of the client's connection.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It may send the next request.
    KeepAlive,
    /// The answer was complete, and is the last one.
    Close,
    /// Something broke in the middle: the client must not see an orderly end.
    Abort,
    /// Nothing was answered yet: say why.
    Refuse(Refusal),
}

/// Passes on the request whose head are the first `head` bytes from the client, and its answer. `reused` says that
/// `guest` has served an earlier request.
pub(super) async fn run<C: Stream, G: Stream>(
    client: &mut Peer<C>,
    guest: &mut Peer<G>,
    request: &Request,
    head: usize,
    reused: bool,
) -> Outcome {
    let mut upload = Upload::new(&mut client.inlet, &mut guest.outlet, head, request.body.clone());
    let mut download =
        Download { guest: &mut guest.inlet, client: &mut client.outlet, request, reused, continued: false };
    let (head, answer) = match beside(&mut upload, download.head()).await {
        Ok(Ok(found)) => found,
        Ok(Err(outcome)) => return outcome,
        Err(Lost::Client) => return Outcome::Abort,
        Err(Lost::Malformed(error)) => return Outcome::Refuse(Refusal::bad_request(&error)),
    };
    upload.answered();
    let (body, persistent) = match answer {
        Answer::Raw => return raw(client, guest, head).await,
        Answer::Body { body, persistent } => (body, persistent && request.persistent),
    };
    match beside(&mut upload, download.message(head, body)).await {
        Ok(Ok(())) => {}
        Ok(Err(Truncated)) | Err(_) => return Outcome::Abort,
    }
    if !persistent {
        return Outcome::Close;
    }
    if !upload.complete() {
        // Without a 100 the client may well leave its body out, and nobody could tell it from the next request.
        if request.expects_continue && !download.continued {
            return Outcome::Close;
        }
        if upload.send().await.is_err() || !upload.complete() {
            return Outcome::Abort;
        }
    }
    // A client that did not wait for its 101 has sent stdin, which must not be read as requests when dockerd refuses.
    if request.upgrade && !client.inlet.is_empty() { Outcome::Close } else { Outcome::KeepAlive }
}

async fn raw<C: Stream, G: Stream>(client: &mut Peer<C>, guest: &mut Peer<G>, mut head: usize) -> Outcome {
    // dockerd writes it by itself as well. Some clients lose what they read together with it.
    if client.outlet.send(&mut guest.inlet, &mut head).await.is_err() {
        return Outcome::Abort;
    }
    match hijack::run(client, guest).await {
        Ok(hijack::Ended) => Outcome::Close,
        Err(error) => {
            tracing::debug!(%error, "hijacked stream broke");
            Outcome::Abort
        }
    }
}

/// Runs `work` with the upload beside it. Neither goes first every time: an upload that never has to wait uses up the
/// whole turn that the runtime gives a task, and the answer to it must come through all the same.
async fn beside<C: Stream, G: Stream, T>(
    upload: &mut Upload<'_, C, G>,
    work: impl Future<Output = T>,
) -> Result<T, Lost> {
    tokio::select! {
        lost = upload.run() => match lost { Err(lost) => Err(lost), Ok(never) => match never {} },
        done = work => Ok(done),
    }
}

/// The guest or the client stopped in mid-message.
struct Truncated;

/// The answer's way, guest to client.
struct Download<'a, C, G> {
    guest: &'a mut Inlet<G>,
    client: &'a mut Outlet<C>,
    request: &'a Request,
    reused: bool,
    /// A 100 went by.
    continued: bool,
}

impl<C: Stream, G: Stream> Download<'_, C, G> {
    /// Waits, for as long as it takes, for the head of the final answer; passes interim ones on.
    async fn head(&mut self) -> Result<(usize, Answer), Outcome> {
        loop {
            let mut length = match self.guest.head().await {
                Ok(length) => length,
                Err(NoHead::Malformed(error)) => return Err(Outcome::Refuse(Refusal::bad_gateway(&error))),
                // As dockerd does it to an idle connection. Clients know, and ask again on a new one.
                Err(NoHead::Ended) if self.reused && self.guest.is_empty() => return Err(Outcome::Abort),
                Err(NoHead::Ended) => return Err(Outcome::Refuse(Refusal::bad_gateway(&"the connection was closed"))),
            };
            match response::parse(&self.guest.bytes()[..length], self.request) {
                // The client did not ask, or was told already (`hold`).
                Ok(Next::Interim { continues: true }) if !self.request.expects_continue => self.guest.consume(length),
                Ok(Next::Interim { continues }) => {
                    self.client.send(self.guest, &mut length).await.map_err(|_| Outcome::Abort)?;
                    self.continued |= continues;
                }
                Ok(Next::Final(answer)) => return Ok((length, answer)),
                Err(error) => return Err(Outcome::Refuse(Refusal::bad_gateway(&error))),
            }
        }
    }

    /// Passes on the final answer: `head` bytes of head, then the body.
    async fn message(&mut self, head: usize, mut body: Body) -> Result<(), Truncated> {
        let mut ready = head;
        loop {
            ready += body.take(&self.guest.bytes()[ready..]).map_err(|_| Truncated)?;
            self.client.send(self.guest, &mut ready).await.map_err(|_| Truncated)?;
            if body.finished() {
                return Ok(());
            }
            if self.guest.ended() {
                return if matches!(body, Body::UntilClose) { Ok(()) } else { Err(Truncated) };
            }
            self.guest.fill().await.map_err(|_| Truncated)?;
        }
    }
}
