//! Holds a request in which paths of the host may stand until all of it has come, and looks at it before dockerd sees any of
//! it. `serve_connection` calls [`inspect`] for every request; nearly all pass at once. What is held waits where every
//! request waits, at the front of the client's inlet, and goes on from there as it came, or with another path in it.

use std::{borrow::Cow, error::Error, time::Duration};

use tokio::time::timeout;

use super::{
    body::Body,
    head,
    mounts::{self, HostPath, Kind, MAX_BODY, MountError, Place},
    peer::Peer,
    refusal::Refusal,
    request::Request,
    sctp,
};
use crate::guest::{GuestDialer, Stream};

/// From the head to the last byte of the body. Only what is passed on at once may take its time.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where dockerd listens in the machine, as images expect it.
const DOCKERD_SOCKET: &str = "/var/run/docker.sock";
/// What a client that asks first has to hear, since dockerd is not asked yet; dockerd's own is then not passed on.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Refuses a request with paths that dockerd would misread, or whose body cannot be inspected, and puts the machine's path in the
/// place of one that means something else there. `head` bytes at the front of `client` are its head; returns how many are
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
    let meant = look(kind, &content, |path| meaning(path, guest.own_sockets()))?;
    let Cow::Owned(meant) = meant else { return Ok(head) };
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

fn look(kind: Kind, body: &[u8], meaning: impl Fn(&HostPath) -> Option<String>) -> Result<Cow<'_, [u8]>, Refusal> {
    // dockerd has its own words for a body that is missing, and can read nothing else into it.
    if body.trim_ascii().is_empty() {
        return Ok(Cow::Borrowed(body));
    }
    let refused = |error: MountError| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Refusal::not_like_this(format!("{error}{source}"))
    };
    let found = mounts::find(kind, body).map_err(refused)?;
    if let Some(reason) = found.iter().find_map(HostPath::misread) {
        return Err(Refusal::not_like_this(reason));
    }
    if let Some(why) = sctp::refusal(body).filter(|_| kind == Kind::Container) {
        return Err(Refusal::not_like_this(why));
    }
    mounts::rewrite(body, &found, |path| Ok(meaning(path))).map_err(refused)
}

/// What a path of this computer means in the machine, where it is not the path of the same name. A tool that gives a container
/// the engine's socket names the one that it uses itself: there it is dockerd's own.
fn meaning(path: &HostPath, own_sockets: &[String]) -> Option<String> {
    let plain = |path: &str| {
        path.split('/').filter(|part| !matches!(*part, "" | ".")).map(|part| format!("/{part}")).collect::<String>()
    };
    let named = plain(&path.path);
    let is_own = path.place != Place::Device && own_sockets.iter().any(|socket| plain(socket) == named);
    is_own.then(|| DOCKERD_SOCKET.to_owned())
}
