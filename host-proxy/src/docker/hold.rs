//! Holds a request in which paths of the host may stand until all of it has come, and looks at it before dockerd sees any of
//! it. `serve_connection` calls [`inspect`] for every request; nearly all pass at once. What is held waits where every
//! request waits, at the front of the client's inlet, and goes on from there as it came.

use std::{error::Error, time::Duration};

use tokio::time::timeout;

use super::{
    body::Body,
    mounts::{self, Kind, MAX_BODY},
    peer::Peer,
    refusal::Refusal,
    request::Request,
    sctp,
};
use crate::guest::Stream;

/// From the head to the last byte of the body. Only what is passed on at once may take its time.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a client that asks first has to hear, since dockerd is not asked yet; dockerd's own is then not passed on.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Refuses a request with paths that dockerd would misread, or whose body cannot be inspected. `head` bytes at the front of
/// `client` are its head. A client that waits to be asked for its body is asked, and `request` expects that no more.
pub(super) async fn inspect<S: Stream>(
    client: &mut Peer<S>,
    request: &mut Request,
    head: usize,
) -> Result<(), Refusal> {
    let Some(kind) = request.mounts.filter(|_| !request.body.finished()) else { return Ok(()) };
    if matches!(request.body, Body::Length(length) if length > MAX_BODY as u64) {
        return Err(Refusal::too_large(MAX_BODY));
    }
    if std::mem::take(&mut request.expects_continue) && client.outlet.send_all(CONTINUE).await.is_err() {
        // It is gone, which the next to read from it will see.
        return Ok(());
    }
    let body = timeout(DEADLINE, whole(client, request.body.clone(), head)).await;
    look(kind, &body.map_err(|_| Refusal::slow_body(DEADLINE))??)
}

/// Waits for the whole body, or for where its client ends it, leaves it where it is, and returns what is in it.
async fn whole<S: Stream>(client: &mut Peer<S>, mut body: Body, head: usize) -> Result<Vec<u8>, Refusal> {
    let (mut content, mut seen) = (Vec::new(), head);
    loop {
        let bytes = &client.inlet.bytes()[seen..];
        seen +=
            body.read(bytes, |data| content.extend_from_slice(data)).map_err(|error| Refusal::bad_request(&error))?;
        // Chunks may be mostly sizes: what is held counts too.
        if content.len() > MAX_BODY || seen - head > 2 * MAX_BODY {
            return Err(Refusal::too_large(MAX_BODY));
        }
        // Of a body that is cut short dockerd reads what has come, too, and says what it misses.
        if body.finished() || client.inlet.ended() {
            return Ok(content);
        }
        if client.inlet.fill().await.is_err() {
            return Err(Refusal::bad_request(&"it ended before its body did"));
        }
    }
}

fn look(kind: Kind, body: &[u8]) -> Result<(), Refusal> {
    // dockerd has its own words for a body that is missing, and can read nothing else into it.
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let found = mounts::find(kind, body).map_err(|error| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Refusal::not_like_this(format!("{error}{source}"))
    })?;
    match found.iter().find_map(mounts::HostPath::misread) {
        Some(reason) => Err(Refusal::not_like_this(reason)),
        None if kind == Kind::Container => sctp::refusal(body).map_or(Ok(()), |why| Err(Refusal::not_like_this(why))),
        None => Ok(()),
    }
}
