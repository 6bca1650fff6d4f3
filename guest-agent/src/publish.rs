//! Passes published ports on to the host. `docker-proxy` asks through a socket that only root can open; each of its
//! connections gets one to the host, which begins with the boot secret, and the two end together: the life of the
//! process is the life of the port. Called by `boot`.
//!
//! ```text
//!   docker-proxy ──Port──► here ──secret, Port──► host        both wait
//!   docker-proxy ◄─Published── here ◄─Published── host        both stay open, and nothing is said any more
//!   docker-proxy ends or dies ──► our side to the host ends ──► the host listens no more and ends its own ──► ours ends
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lighter_protocol::{Port, Publish, Published, ports};
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::socket_peercred;
use rustix::process::Uid;

use crate::frames::{FrameError, Frames};
use crate::sys::vsock;
use crate::{fatal, paths, ready};

/// Most ports at the same time; the host has a limit of its own, below this one.
const LIMIT: usize = 8192;
/// A port's thread frames two short messages.
const STACK: usize = 64 * 1024;
/// For a question to arrive. Root's processes have no reason to take long.
const QUESTION: Duration = Duration::from_secs(5);
/// For the host's answer; `docker-proxy` waits a little longer.
const ANSWER: Duration = Duration::from_secs(14);
/// For the host to listen no more.
const FAREWELL: Duration = Duration::from_secs(4);
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts `docker-proxy` where dockerd finds it, and serves it in a thread of its own.
pub fn serve(secret: String) -> io::Result<()> {
    // The agent's own file is in the initramfs, below the root; this is the way to it.
    symlink("/proc/1/exe", paths::DOCKER_PROXY)?;
    let listener = listen(Path::new(paths::PUBLISH_SOCKET))?;
    let dial = || {
        let host = u32::try_from(ports::HOST_CID).expect("the host's context id is 2");
        vsock::dial(host, ports::PUBLISH)
    };
    accept(listener, Uid::ROOT, secret, dial)
}

/// A socket that only root can open.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves processes of `owner` who come to `listener` for ever, in a new thread per port; `dial` opens a connection to the host.
pub fn accept(
    listener: UnixListener,
    owner: Uid,
    secret: String,
    dial: impl Fn() -> io::Result<OwnedFd> + Send + Sync + 'static,
) -> io::Result<()> {
    let shared = Arc::new((secret, dial, AtomicUsize::new(0)));
    let accepting = move || {
        loop {
            match listener.accept() {
                Ok((connection, _)) => {
                    // The socket's mode says the same; a descriptor that was passed on does not.
                    if socket_peercred(&connection).is_ok_and(|peer| peer.uid == owner) {
                        start(&shared, connection);
                    } else {
                        tracing::warn!("somebody else than root asked for a port");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "request for a port not accepted");
                    thread::sleep(PAUSE);
                }
            }
        }
    };
    thread::Builder::new().name("ports".into()).spawn(accepting).map(drop)
}

type Shared<D> = Arc<(String, D, AtomicUsize)>;

fn start<D: Fn() -> io::Result<OwnedFd> + Send + Sync + 'static>(shared: &Shared<D>, connection: UnixStream) {
    if shared.2.fetch_add(1, Ordering::AcqRel) >= LIMIT {
        shared.2.fetch_sub(1, Ordering::AcqRel);
        return tracing::warn!(limit = LIMIT, "too many published ports, refusing one");
    }
    let own = Arc::clone(shared);
    let serving = move || {
        let (secret, dial, open) = &*own;
        if let Err(error) = port(connection.into(), secret, dial) {
            tracing::warn!(error = fatal::chain(&error), "port is not published");
        }
        open.fetch_sub(1, Ordering::AcqRel);
    };
    if let Err(error) = thread::Builder::new().name("port".into()).stack_size(STACK).spawn(serving) {
        shared.2.fetch_sub(1, Ordering::AcqRel);
        tracing::warn!(%error, "no thread for a port");
    }
}

/// One port, from the question to its end.
fn port(proxy: OwnedFd, secret: &str, dial: impl Fn() -> io::Result<OwnedFd>) -> Result<(), FrameError> {
    let mut proxy = Frames::new(proxy);
    let Some(port) = proxy.message::<Port>(Instant::now() + QUESTION)? else { return Ok(()) };
    let deadline = Instant::now() + ANSWER;
    match ask_host(secret, port, dial, deadline) {
        Ok((Published::Listening, host)) => {
            proxy.send(&Published::Listening, deadline)?;
            Ok(hold(proxy, host)?)
        }
        Ok((refused, _)) => proxy.send(&refused, deadline),
        Err(error) => {
            let message = format!("lighter does not answer on the host: {}", fatal::chain(&error));
            proxy.send(&Published::Refused { message }, deadline)?;
            Err(error)
        }
    }
}

fn ask_host(
    secret: &str,
    port: Port,
    dial: impl Fn() -> io::Result<OwnedFd>,
    deadline: Instant,
) -> Result<(Published, Frames), FrameError> {
    let mut host = Frames::new(dial()?);
    host.send(&Publish { secret: secret.to_owned(), port }, deadline)?;
    let answer = host.message(deadline)?.ok_or(FrameError::Cut)?;
    Ok((answer, host))
}

/// Until one of the two ends, whose end then becomes the other's.
fn hold(mut proxy: Frames, mut host: Frames) -> io::Result<()> {
    loop {
        ready::wait_any(&mut [PollFd::new(&proxy, PollFlags::IN), PollFd::new(&host, PollFlags::IN)], None)?;
        if !matches!(proxy.discard(), Ok(None | Some(1..))) {
            // Its own end comes when the host has listened for the last time.
            host.finish(Instant::now() + FAREWELL);
            return Ok(());
        }
        if !matches!(host.discard(), Ok(None | Some(1..))) {
            return Ok(());
        }
    }
}
