//! Holds a request in which paths of the host may stand until all of it has come, and looks at it before dockerd sees any of
//! it. `serve_connection` calls [`inspect`] for every request; nearly all pass at once. What is held waits where every
//! request waits, at the front of the client's inlet, and goes on from there as it came, or with another path in it.

use std::{borrow::Cow, error::Error, time::Duration};

use tokio::time::timeout;

use super::{
    body::Body,
    head,
    mounts::{self, Form, HostPath, Kind, MAX_BODY, MountError, Place},
    peer::Peer,
    refusal::Refusal,
    request::Request,
    sctp,
};
use crate::guest::{GuestDialer, Stream};
use crate::shares::{Shares, disk::ThisComputer, spelling::HostKind};

/// From the head to the last byte of the body. Only what is passed on at once may take its time.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a client that asks first has to hear, since dockerd is not asked yet; dockerd's own is then not passed on.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Refuses a request with paths that containers are not to see or dockerd would misread, or whose body cannot be inspected, and
/// puts the machine's path in the place of one that means something else there. `head` bytes at the front of `client` are its head; returns how many are
/// then. A client that waits to be asked for its body is asked, and `request` expects that no more.
pub(super) async fn inspect<S: Stream>(
    client: &mut Peer<S>,
    guest: &dyn GuestDialer,
    request: &mut Request,
    head: usize,
) -> Result<usize, Refusal> {
    let Some(kind) = request.mounts.filter(|_| !request.body.finished()) else { return Ok(head) };
    if matches!(request.body, Body::Length(length) if length > MAX_BODY as u64) {
        return Err(Refusal::too_large(MAX_BODY));
    }
    if std::mem::take(&mut request.expects_continue) && client.outlet.send_all(CONTINUE).await.is_err() {
        return Err(Refusal::bad_request(&"it cannot be asked for its body"));
    }
    let body = timeout(DEADLINE, whole(client, request.body.clone(), head)).await;
    let Held { content, until } = body.map_err(|_| Refusal::slow_body(DEADLINE))??;
    let Some(meant) = look(kind, content, guest).await? else { return Ok(head) };
    // One that its client cut short goes on for dockerd to say what it misses, but not with a path that means something else.
    let until = until.ok_or_else(|| Refusal::bad_request(&"it ended before its body did"))?;
    let new_head = head::with_length(&client.inlet.bytes()[..head], meant.len());
    client.inlet.replace(until, &[&new_head[..], &meant].concat());
    request.body = Body::Length(meant.len() as u64);
    Ok(new_head.len())
}

/// A body that has come.
struct Held {
    content: Vec<u8>,
    /// Where its message ends among the client's bytes, unless the client ended before it.
    until: Option<usize>,
}

/// Waits for the whole body, or for where its client ends it, leaves it where it is, and returns what is in it.
async fn whole<S: Stream>(client: &mut Peer<S>, mut body: Body, head: usize) -> Result<Held, Refusal> {
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
            return Ok(Held { content, until: body.finished().then_some(seen) });
        }
        if client.inlet.fill().await.is_err() {
            return Err(Refusal::bad_request(&"it ended before its body did"));
        }
    }
}

/// The body with the paths that the machine has in place of this computer's; `None` if all stay as they are.
async fn look(kind: Kind, body: Vec<u8>, guest: &dyn GuestDialer) -> Result<Option<Vec<u8>>, Refusal> {
    // dockerd has its own words for a body that is missing, and can read nothing else into it.
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let found = mounts::find(kind, &body)?;
    if let Some(reason) = found.iter().find_map(|path| path.misread(HostKind::here())) {
        return Err(Refusal::not_like_this(reason));
    }
    if let Some(why) = sctp::refusal(&body).filter(|_| kind == Kind::Container) {
        return Err(Refusal::not_like_this(why));
    }
    if found.iter().all(|path| path.form == Form::Relative) {
        return Ok(None);
    }
    let shares = guest.shares().await.map_err(|error| Refusal::unreachable(&error))?;
    let own_sockets = guest.own_sockets().to_vec();
    // A folder of this computer may be on another one that is slow to answer.
    let meant = tokio::task::spawn_blocking(move || {
        let meaning = |path: &HostPath| meaning(path, &shares, &own_sockets);
        mounts::rewrite(&body, &found, meaning).map(|body| matches!(body, Cow::Owned(_)).then(|| body.into_owned()))
    });
    meant.await.map_err(|error| Refusal::not_like_this(format!("its paths could not be looked at: {error}")))?
}

/// What a path of this computer means in the machine, where it is not the path of the same name. A tool that gives a container
/// the engine's socket names the one that it uses itself: there it is dockerd's own.
fn meaning(path: &HostPath, shares: &Shares, own_sockets: &[String]) -> Result<Option<String>, Refusal> {
    // A volume is a folder.
    let own_sockets = if path.place == Place::Device { &[] } else { own_sockets };
    let meant = shares.translate(&path.path, own_sockets, &ThisComputer);
    let meant = meant.map_err(|error| Refusal::not_like_this(error.to_string()))?;
    Ok(meant.filter(|meant| *meant != path.path))
}

impl From<MountError> for Refusal {
    fn from(error: MountError) -> Refusal {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Refusal::not_like_this(format!("{error}{source}"))
    }
}
