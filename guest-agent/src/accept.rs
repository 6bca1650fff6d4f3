//! Accepts the host's connections on one vsock port and serves each on a thread of its own. Called by `boot`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lighter_protocol::ports;
use rustix::io::Errno;

use crate::sys::vsock;

/// Connections on one port at once: what 1 000 API clients need, twice.
const LIMIT: usize = 2048;
/// Connections are copied and framed on small stacks; shells and logs need no more either.
const STACK: usize = 128 * 1024;
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// The listener cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("No more connections can be accepted on vsock port {port}")]
pub struct AcceptError {
    port: u32,
    source: std::io::Error,
}

/// Serves `port` for ever with `serve`, in a new thread per connection.
pub fn serve(
    port: u32,
    name: &'static str,
    serve: impl Fn(OwnedFd) + Send + Sync + 'static,
) -> Result<(), AcceptError> {
    let listener = vsock::listen(port).map_err(|source| AcceptError { port, source })?;
    let serve = Arc::new(serve);
    let open = Arc::new(AtomicUsize::new(0));
    let accepting = move || {
        loop {
            match vsock::accept(&listener) {
                Ok((connection, peer)) if peer.map(u64::from) == Some(ports::HOST_CID) => {
                    start(name, &open, &serve, connection);
                }
                Ok((_, peer)) => tracing::warn!(?peer, port, "connection that is not the host's refused"),
                Err(source) if listener_is_gone(&source) => crate::fatal::end("accept", &AcceptError { port, source }),
                Err(error) => {
                    tracing::warn!(%error, port, "connection not accepted");
                    // Out of descriptors or memory, the next attempt fails at once as well, and nothing says when it would not.
                    thread::sleep(PAUSE);
                }
            }
        }
    };
    thread::Builder::new().name(name.into()).spawn(accepting).map_err(|source| AcceptError { port, source })?;
    Ok(())
}

fn start(
    name: &str,
    open: &Arc<AtomicUsize>,
    serve: &Arc<impl Fn(OwnedFd) + Send + Sync + 'static>,
    connection: OwnedFd,
) {
    let place = Place::take(open);
    if place.number > LIMIT {
        tracing::warn!(name, limit = LIMIT, "too many connections, refusing one");
        return;
    }
    let serve = Arc::clone(serve);
    let serving = move || {
        serve(connection);
        drop(place);
    };
    // Without a thread the connection is dropped, which the host sees as its end.
    if let Err(error) = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(serving) {
        tracing::warn!(name, %error, "no thread for a connection");
    }
}

/// Not a connection that failed, but the socket that all of them come from.
fn listener_is_gone(error: &std::io::Error) -> bool {
    let gone = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// One of the connections that are open; given back when dropped.
struct Place {
    number: usize,
    open: Arc<AtomicUsize>,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        Self { number: open.fetch_add(1, Ordering::AcqRel) + 1, open: Arc::clone(open) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}
