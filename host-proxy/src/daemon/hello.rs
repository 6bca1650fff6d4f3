//! The guest's event channel: waits for the agent that knows the boot secret, answers it, and hands on what it reports.
//! Any process in the guest may open this port, so nobody is believed before the secret has come. Called by `lifecycle`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lighter_protocol::engine::{Certificates, EngineSettings};
use lighter_protocol::{Boot, Event, Hello, Network, SharedFolder, VERSION, ports};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::frames;
use crate::guest::BoxedStream;
use crate::machine::Machine;

/// How long one caller may take to say its secret.
const CALLER: Duration = Duration::from_secs(10);
/// Most callers that are listened to at the same time.
const MOST_CALLERS: usize = 8;

/// So many events are read as fast as they come; more than any start has.
const FREE_EVENTS: usize = 100;
/// From then on one in so much time, so that a guest out of its mind fills no log and takes no CPU; the rest waits there.
const PACE: Duration = Duration::from_millis(50);

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// Image and program do not belong together.
    #[error(
        "The guest image speaks version {theirs} of the protocol and this program version {ours}: build the image again"
    )]
    Version {
        /// The agent's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
}

/// Events of an agent that proved itself; its channel is closed when this is dropped.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
    reader: AbortHandle,
}

impl Events {
    /// Events that a test makes up.
    #[cfg(test)]
    pub fn scripted() -> (mpsc::Sender<Event>, Events) {
        let (sender, events) = mpsc::channel(16);
        (sender, Events { events, reader: tokio::spawn(async {}).abort_handle() })
    }

    /// The next event; `None` when the agent is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What the agent gets to know.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// The boot secret.
    pub secret: String,
    /// The guest's host name.
    pub hostname: String,
    /// Whether the data disk holds nothing at all.
    pub data_disk_blank: bool,
    /// How its network interface is to be set up.
    pub network: Option<Network>,
    /// What dockerd has to know of the user's network.
    pub engine: EngineSettings,
    /// Folders of this computer.
    pub folders: Vec<SharedFolder>,
    /// The certificates that it is to trust.
    pub certificates: Vec<Certificates>,
}

/// Waits for the agent. Has no deadline of its own. Not cancel-safe: callers who are waiting are dropped.
pub async fn greet(machine: &Arc<dyn Machine>, welcome: &Welcome) -> Result<Events, HelloError> {
    let mut incoming = machine.listen(ports::HELLO);
    // Shared, because it is large and anybody in the guest may call.
    let welcome = Arc::new(welcome.clone());
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            caller = incoming.accept(), if callers.len() < MOST_CALLERS => {
                // The machine is gone, and whoever called this waits for that too.
                let Some(caller) = caller else { return std::future::pending().await };
                let welcome = Arc::clone(&welcome);
                callers.spawn(async move { tokio::time::timeout(CALLER, admit(caller, &welcome)).await });
            }
            Some(result) = callers.join_next() => match result {
                Ok(Ok(Ok(Some(stream)))) => return Ok(listen(stream)),
                Ok(Ok(Err(error))) => return Err(error),
                _ => tracing::warn!("Somebody in the guest called without the boot secret"),
            }
        }
    }
}

/// Lets in who knows the secret; `None` for others.
async fn admit(mut stream: BoxedStream, welcome: &Welcome) -> Result<Option<BoxedStream>, HelloError> {
    let Ok(hello) = frames::read::<Hello>(&mut stream).await else { return Ok(None) };
    if !same(hello.secret.as_bytes(), welcome.secret.as_bytes()) {
        return Ok(None);
    }
    // Only now its other words count.
    if hello.version != VERSION {
        return Err(HelloError::Version { theirs: hello.version, ours: VERSION });
    }
    // A host clock before 1970 is as wrong as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot = Boot {
        version: VERSION,
        unix_seconds: now.as_secs(),
        unix_nanos: now.subsec_nanos(),
        hostname: welcome.hostname.clone(),
        data_disk_blank: welcome.data_disk_blank,
        network: welcome.network.clone(),
        engine: welcome.engine.clone(),
        folders: welcome.folders.clone(),
    };
    let send = async {
        frames::write(&mut stream, &boot).await?;
        for certificates in &welcome.certificates {
            frames::write(&mut stream, certificates).await?;
        }
        Ok::<(), frames::FrameError>(())
    };
    Ok(send.await.is_ok().then_some(stream))
}

/// Compares in a time that does not depend on where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// Reads events in a task of its own, because half a frame must not be lost when the reader looks elsewhere.
fn listen(mut stream: BoxedStream) -> Events {
    // Bounded: a flood waits in the guest.
    let (sender, events) = mpsc::channel(16);
    let reader = tokio::spawn(async move {
        for count in 0_usize.. {
            if count > FREE_EVENTS {
                tokio::time::sleep(PACE).await;
            }
            match frames::read::<Event>(&mut stream).await {
                Ok(event) => {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::info!(%error, "The agent's channel ended");
                    return;
                }
            }
        }
    });
    Events { events, reader: reader.abort_handle() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_secrets_are_equal_only_when_every_byte_is() {
        assert!(same(b"0123", b"0123"));
        assert!(!same(b"0123", b"0124"));
        assert!(!same(b"1123", b"0123"));
        assert!(!same(b"0123", b"012"));
        assert!(!same(b"", b"0"));
    }
}
