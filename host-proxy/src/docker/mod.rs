//! The Docker API proxy: serves one client connection by passing its requests, one after the other, to dockerd in the
//! guest. The daemon calls [`serve_connection`] for every connection it accepts.
//!
//! It reads HTTP/1.1 itself, only as far as framing needs, and passes on the very bytes that came. A general HTTP
//! library sits badly here for three reasons. Docker's older clients hijack behind a plain `200` (dockerode, docker-py;
//! `POST …/attach` without `Upgrade`), which no HTTP server library lets a handler do. Parsing and printing again
//! changes what it does not understand (case, order, reasons, chunk extensions, trailers), whereas bytes passed
//! through are faithful by construction and are copied once. And what decides safety, that dockerd must never see
//! another message boundary than we do, is better held in two small strict files (`head`, `chunked`) than in options.
//!
//! One client connection has at most one guest connection, made for its first request and kept while both sides keep
//! theirs alive. So `Connection`, `Keep-Alive` and `Upgrade`, which an ordinary proxy must strip (RFC 9110 §7.6.1),
//! mean the same on both hops and pass through too. There is no pool and no task: one future holds two buffers,
//! which never exceed 64 KiB outside a head, and dropping it closes both sides. The one exception are the few bodies in
//! which paths of the host may stand (`mounts`): they are held until they have come whole and were looked at (`hold`).
//!
//! HTTP/2 is not spoken here, and a client that begins with it (`PRI * HTTP/2.0`) hears a 505. Engines up to 28 do not speak it
//! outside `/grpc` and `/session` either, so clients that try it go back to HTTP/1.1. Copying such a connection through
//! unread would let any request in it pass `hold` by; a newer engine in the guest will need a reader of its frames here.

pub mod body;
pub mod chunked;
mod exchange;
pub mod head;
mod hijack;
mod hold;
pub mod known;
pub mod mounts;
mod peer;
mod refusal;
pub mod request;
mod response;
mod sctp;
mod upload;

use std::{sync::Arc, time::Duration};

use lighter_protocol::ports;
use tokio::time::timeout;

use self::{
    exchange::Outcome,
    peer::{NoHead, Peer},
    refusal::Refusal,
    request::Request,
};
use crate::guest::{BoxedStream, GuestDialer, Stream};

/// From the first byte of a request head to its last. Nothing else that is passed on has a deadline: `events`, `logs -f`, `attach`
/// and `wait` may be silent for days, and an upload may wait for a person.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);

/// A guest connection that may serve the next request.
struct Guest {
    peer: Peer<BoxedStream>,
    reused: bool,
}

/// Serves one API client until either side ends the connection. Drop the future to cut it off.
pub async fn serve_connection<S: Stream>(client: S, guest: Arc<dyn GuestDialer>) {
    let mut client = Peer::new(client);
    let mut kept = None;
    loop {
        let (request, head) = match next_request(&mut client, &*guest, &mut kept).await {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(refusal) => {
                drop(kept);
                let to_head = client.inlet.bytes().starts_with(b"HEAD ");
                return refuse(client, &refusal, to_head).await;
            }
        };
        if kept.is_none() {
            match known::stand_in(&mut client, &*guest, &request, head).await {
                Some(Outcome::KeepAlive) => continue,
                Some(_) => return refusal::close(client).await,
                None => {}
            }
        }
        let mut engine = match kept.take() {
            Some(engine) => engine,
            None => match guest.dial(ports::DOCKER).await {
                Ok(stream) => Guest { peer: Peer::new(stream), reused: false },
                Err(error) => return refuse(client, &Refusal::unreachable(&error), request.is_head).await,
            },
        };
        match exchange::run(&mut client, &mut engine.peer, &request, head, engine.reused).await {
            Outcome::KeepAlive => kept = engine.reuse(),
            Outcome::Abort => return,
            Outcome::Close => {
                drop(engine);
                return refusal::close(client).await;
            }
            Outcome::Refuse(refusal) => {
                drop(engine);
                return refuse(client, &refusal, request.is_head).await;
            }
        }
    }
}

async fn refuse<S: Stream>(mut client: Peer<S>, refusal: &Refusal, to_head: bool) {
    refusal.send(&mut client, to_head).await;
    refusal::close(client).await;
}

/// Waits for the next request's head, which stays at the front of the client's bytes. `None` when there is none.
async fn next_request<S: Stream>(
    client: &mut Peer<S>,
    dialer: &dyn GuestDialer,
    kept: &mut Option<Guest>,
) -> Result<Option<(Request, usize)>, Refusal> {
    client.inlet.shrink();
    while client.inlet.is_empty() {
        let filled = match kept {
            None => client.inlet.fill().await,
            Some(guest) => tokio::select! {
                filled = client.inlet.fill() => filled,
                // dockerd closed it, or says something unasked: not to be used again.
                _ = guest.peer.inlet.fill() => { *kept = None; continue }
            },
        };
        if filled.is_err() || client.inlet.ended() && client.inlet.is_empty() {
            return Ok(None);
        }
    }
    match timeout(HEAD_DEADLINE, client.inlet.head()).await {
        Err(_) => return Err(Refusal::slow_head(HEAD_DEADLINE)),
        Ok(Err(NoHead::Ended)) => return Ok(None),
        Ok(Err(NoHead::Malformed(error))) => return Err(Refusal::head(error)),
        Ok(Ok(_)) => {}
    }
    let Some(head) = request::parse(client.inlet.bytes()).map_err(Refusal::head)? else { return Ok(None) };
    let path = head.target.split(|b| *b == b'?').next().unwrap_or_default();
    tracing::debug!(method = head.method, path = %path.escape_ascii(), "request");
    let (mut request, head) = (head.facts, head.length);
    let head = hold::inspect(client, dialer, &mut request, head).await?;
    if let Some(guest) = kept {
        // It may have ended while the request came in. Nothing was sent on it yet, so any request may go on another one.
        tokio::select! {
            biased;
            _ = guest.peer.inlet.fill() => *kept = None,
            () = std::future::ready(()) => {}
        }
    }
    Ok(Some((request, head)))
}

impl Guest {
    fn reuse(mut self) -> Option<Guest> {
        let peer = &mut self.peer;
        let usable = peer.inlet.is_empty() && !peer.inlet.ended() && !peer.outlet.closed();
        peer.inlet.shrink();
        self.reused = true;
        usable.then_some(self)
    }
}
