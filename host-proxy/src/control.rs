//! What `lighter` and its daemon say to each other over the control socket, and the client's side of it. Frames are those
//! of `lighter_protocol::wire`: a little-endian `u32` length and that many bytes of JSON. A connection carries one [`Ask`]:
//!
//! ```text
//! status            → one `status`
//! watch             → `stage` for each stage, past and to come, then one `status` when the machine runs or does not start
//! start, restart    → as `watch`, after the machine was asked to live
//! stop, kill        → `stage`…, then one `stopped`; with `quit`, the daemon's lock is free a moment later
//! ports             → one `ports`
//! guest             → the connection goes on as one to the guest's control port (a `Request`, a `Reply`, stream frames)
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forward::PublishedPort;
use crate::frames::{self, FrameError};
use crate::settings::Wishes;
use crate::settings::proxy::ProxyWords;
use crate::sys::endpoint::{self, Stream};

/// How long a daemon may take for an answer that needs no waiting.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same for an answer for which it asks the engine, with a deadline of its own.
const PATIENCE_FOR_ENGINE: Duration = Duration::from_secs(10);

/// What `lighter` asks its daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// How is it?
    Status,
    /// How does the start go?
    Watch,
    /// Start the machine, unless it lives, and tell how that goes.
    Start {
        /// Flags, which go over `config.toml`.
        wishes: Wishes,
        /// Proxies in the environment of whoever asks.
        #[serde(default)]
        environment: Option<ProxyWords>,
    },
    /// Stop the machine if it lives, start it, and tell how that goes.
    Restart {
        /// How long containers may take; `None` does not ask the guest.
        grace_seconds: Option<u32>,
        /// Flags, which go over `config.toml`.
        wishes: Wishes,
        /// Proxies in the environment of whoever asks.
        #[serde(default)]
        environment: Option<ProxyWords>,
    },
    /// Stop the machine.
    Stop {
        /// How long containers may take.
        grace_seconds: u32,
        /// And end.
        quit: bool,
    },
    /// Stop the machine without asking the guest.
    Kill {
        /// And end.
        quit: bool,
    },
    /// What is published?
    Ports,
    /// Let me talk to the guest's agent.
    Guest,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The state of things.
    Status(Status),
    /// A stage was reached.
    Stage(Stage),
    /// What is published.
    Ports {
        /// Sorted by host address.
        ports: Vec<PublishedPort>,
        /// Another answer with the next ones follows.
        more: bool,
    },
    /// The machine is off, and the daemon goes now if it was to.
    Stopped,
}

/// Where a machine is in its life; see `daemon::keeper` for the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is none; with a daemon, the next API call starts it.
    Stopped,
    /// On its way up.
    Starting,
    /// The Docker API answers.
    Running,
    /// On its way down.
    Stopping,
    /// It cannot be used; the reason says why.
    Broken,
}

impl Phase {
    /// Its name in `status --json`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Stopped => "stopped",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Broken => "broken",
        }
    }
}

/// One step of a start or stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// A short name for programs.
    pub name: String,
    /// What happens, for people.
    pub text: String,
    /// Milliseconds from the daemon's start to this stage.
    pub host_ms: u64,
    /// The guest's own clock when it reached the stage, in milliseconds since its boot.
    pub guest_ms: Option<u64>,
}

/// `lighter status --json`; a contract with other people's scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the profile.
    pub profile: String,
    /// Where the machine is in its life.
    pub state: Phase,
    /// Why it is broken, or what is wrong with a running one.
    pub reason: Option<String>,
    /// `kvm`, `whp`, `hvf` or `software`; null when there is no machine.
    pub engine: Option<String>,
    /// What `DOCKER_HOST` is for this profile.
    pub docker_host: String,
    /// Virtual CPUs, of the running machine or of the next one.
    pub cpus: Option<u8>,
    /// Guest RAM in bytes, of the running machine or of the next one.
    pub memory_bytes: Option<u64>,
    /// The proxies of the running machine without their passwords; missing when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The daemon's process id.
    pub pid: Option<u32>,
    /// Versions by name: `lighter`, and when known `engine` (dockerd), `kernel` and so on.
    pub versions: BTreeMap<String, String>,
}

/// Nobody to talk to, or nothing sensible came back.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket is there but cannot be used.
    #[error("Cannot talk to the daemon through {path}")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It said something else than was asked.
    #[error("The daemon gave an unexpected answer: it may be of another version, so run `lighter restart`")]
    Unexpected,
    /// It does not answer.
    #[error("The daemon does not answer")]
    Silent {
        /// Its process, if the system knows.
        pid: Option<u32>,
    },
    /// The conversation broke.
    #[error("Lost the connection to the daemon")]
    Frame(#[from] FrameError),
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Control {
    stream: Stream,
}

/// A connection that waits in a dying daemon's queue is reset when the kernel closes the listener.
fn nobody_listens(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

impl Control {
    /// Connects; `None` if no daemon listens, or one that is dying has just closed its door.
    pub async fn connect(path: &Path) -> Result<Option<Control>, ControlError> {
        match endpoint::connect(path).await {
            Ok(stream) => Ok(Some(Control { stream })),
            Err(error) if nobody_listens(error.kind()) => Ok(None),
            Err(source) => Err(ControlError::Connect { path: path.display().to_string(), source }),
        }
    }

    /// The daemon's process.
    pub fn pid(&self) -> Option<u32> {
        endpoint::peer_pid(&self.stream)
    }

    /// Asks for the state.
    pub async fn status(mut self) -> Result<Status, ControlError> {
        let pid = self.pid();
        let exchange = async {
            self.ask(&Ask::Status).await?;
            match self.answer().await? {
                Answer::Status(status) => Ok(status),
                _ => Err(ControlError::Unexpected),
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(ControlError::Silent { pid }))
    }

    /// Asks what is published.
    pub async fn ports(mut self) -> Result<Vec<PublishedPort>, ControlError> {
        let pid = self.pid();
        let exchange = async {
            self.ask(&Ask::Ports).await?;
            let mut all = Vec::new();
            loop {
                match self.answer().await? {
                    Answer::Ports { ports, more } => {
                        all.extend(ports);
                        if !more {
                            return Ok(all);
                        }
                    }
                    _ => return Err(ControlError::Unexpected),
                }
            }
        };
        tokio::time::timeout(PATIENCE_FOR_ENGINE, exchange).await.unwrap_or(Err(ControlError::Silent { pid }))
    }

    /// Says what this connection is for.
    pub async fn ask(&mut self, ask: &Ask) -> Result<(), ControlError> {
        Ok(frames::write(&mut self.stream, ask).await?)
    }

    /// The next answer. May take as long as the machine does; the daemon has the deadlines.
    pub async fn answer(&mut self) -> Result<Answer, ControlError> {
        Ok(frames::read(&mut self.stream).await?)
    }

    /// The connection itself, after [`Ask::Guest`].
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}
