//! Accepts API clients on the Docker endpoint and hands each to the proxy. Called by the daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::door::Door;
use crate::docker;
use crate::guest::GuestDialer;
use crate::sys;
use crate::sys::endpoint::{Listener, Stream};

/// Most clients at a time; more wait in the socket's queue, so that they cannot take every file descriptor.
const MOST_CLIENTS: usize = 4096;
/// A pause when the system has no file descriptor to give: it is somebody else's close that helps, and nothing tells of it.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// How long after a client has left what it and others used is given back to the system: at most so often while clients come
/// and go, and never in an idle daemon.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// A running accept loop.
pub struct Serving {
    stop: oneshot::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Accepts nobody any more, waits so long for those inside, and cuts off the rest.
    pub async fn drain(self, patience: Duration) {
        // It cannot have ended by itself, but if it had, so much the better.
        let _ = self.stop.send(patience);
        let _ = self.task.await;
    }
}

/// Serves Docker API clients.
pub fn serve(listener: Listener, door: Arc<Door>) -> Serving {
    accept(listener, move |client| {
        let guest: Arc<dyn GuestDialer> = door.clone();
        docker::serve_connection(client, guest)
    })
}

/// Runs `client` for each connection.
pub fn accept<F>(mut listener: Listener, client: impl Fn(Stream) -> F + Send + 'static) -> Serving
where
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut clients = JoinSet::new();
        let (mut untidy, mut due) = (false, Instant::now());
        let patience = loop {
            tokio::select! {
                stream = listener.accept(), if clients.len() < MOST_CLIENTS => match stream {
                    Ok(stream) => {
                        clients.spawn(client(stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Cannot accept a connection");
                        tokio::time::sleep(NO_DESCRIPTOR).await;
                    }
                },
                Some(_) = clients.join_next() => {
                    if !untidy {
                        (untidy, due) = (true, Instant::now() + GIVE_BACK);
                    }
                }
                () = tokio::time::sleep_until(due), if untidy => {
                    untidy = false;
                    sys::GIVE_BACK.into_iter().for_each(|give_back| give_back());
                }
                patience = &mut stopped => break patience.unwrap_or_default(),
            }
        };
        drop(listener);
        // Who is still inside after that is cut off.
        let _ = tokio::time::timeout(patience, async { while clients.join_next().await.is_some() {} }).await;
        clients.shutdown().await;
    });
    Serving { stop, task }
}
