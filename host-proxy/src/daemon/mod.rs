//! The process that one profile's machine lives in: takes the lock, listens, lets the machine live, drains. The only place
//! where the parts meet. Called by `cli::daemon` and by `cli::start --foreground`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::home::{HomeError, Profile};
use crate::lock::Lock;
use crate::machine::Platform;
use crate::settings::{self, Host, Settings, SettingsError, Wishes};
use crate::sys::endpoint::Listener;

/// Serves `docker.sock`.
mod api;
/// From power on to a dockerd that answers.
mod ascent;
/// Where the machine's state is written for everybody.
pub mod board;
/// From settings to a machine's configuration.
mod boot;
/// The guest's last printed lines.
mod console;
/// The data disk.
pub mod disk;
/// The door into the guest.
pub mod door;
/// Why a start failed.
pub mod fault;
/// The agent's hello and what it reports.
mod hello;
/// The life of one machine.
pub mod lifecycle;
/// The log.
pub mod log;
/// Deadlines.
mod patience;
/// `GET /_ping`.
mod ping;
/// Serves `control.sock`.
mod serve;
/// Asks the guest to shut down.
mod shutdown;
/// Who wants the machine to end.
pub mod signals;
/// Stage times for measurements.
mod timeline;

use board::Board;
use door::Door;
use fault::Fault;
use lifecycle::Lifecycle;

/// How long the daemon of a failed start waits for somebody to ask why.
const STARTER: Duration = Duration::from_secs(3);
/// How long API clients may take for the end of what the guest sent, once it is gone.
const DRAIN_API: Duration = Duration::from_millis(500);
/// How long control clients may take to hear the last word.
const DRAIN_CONTROL: Duration = Duration::from_secs(2);

/// Why a daemon ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The directories.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The lock file.
    #[error("Cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one already.
    #[error("Another daemon runs this profile already")]
    Running,
    /// A socket.
    #[error("Cannot listen at {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals, pipes.
    #[error("Cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The machine did not start.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A daemon that listens but whose machine does not live yet.
pub struct Daemon {
    profile: Profile,
    settings: Settings,
    board: Arc<Board>,
    api: Listener,
    control: Listener,
    // Last, because a field is dropped after those above it: who gets the lock finds no sockets of ours.
    lock: Lock,
}

impl Daemon {
    /// Takes the profile's lock and binds its sockets, so that the first API request waits instead of failing. `since` is
    /// when the process began; `wishes` go over `config.toml`. Must be called inside a tokio runtime.
    pub fn listen(profile: Profile, wishes: &Wishes, since: Instant) -> Result<Daemon, DaemonError> {
        profile.prepare()?;
        let path = profile.daemon_lock();
        // Patience for a predecessor that has said goodbye and is just about to go.
        let lock = Lock::acquire(&path, Duration::from_secs(5)).map_err(|source| DaemonError::Lock { path, source })?;
        let lock = lock.ok_or(DaemonError::Running)?;
        let settings =
            Settings::new(&wishes.over(&settings::load(&profile.config())?), Host::here(), &profile.config())?;
        profile.tidy();
        profile.prepare()?;
        let bind = |path: PathBuf| Listener::bind(&path).map_err(|source| DaemonError::Listen { path, source });
        let control = bind(profile.control_socket())?;
        let api = bind(profile.docker_socket())?;
        Ok(Daemon { profile, settings, board: Arc::new(Board::new(since)), api, control, lock })
    }

    /// Where the machine's state is written.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Lets the machine live until it is to end, and leaves nothing behind.
    pub async fn run(self, platform: Arc<dyn Platform>) -> Result<(), DaemonError> {
        let Daemon { profile, settings, board, api, control, lock } = self;
        let door = Arc::new(Door::new(Arc::clone(&board)));
        let (wish, wishes) = mpsc::channel(4);
        let signals = signals::forward(wish.clone())
            .map_err(|source| DaemonError::System { what: "listen to signals", source })?;
        let facts = serve::Facts {
            profile: profile.name().to_string(),
            docker_host: profile.docker_host(),
            cpus: settings.cpus,
            memory_bytes: settings.memory_bytes,
        };
        let api = api::serve(api, Arc::clone(&door));
        let control = serve::serve(control, facts, Arc::clone(&board), Arc::clone(&door), wish);
        let told = Arc::clone(&board);
        let life = Lifecycle { profile: profile.clone(), settings, platform, board, door, wishes };
        let result = life.live().await;
        if result.is_err() {
            // A start can fail faster than its starter comes to ask.
            let _ = tokio::time::timeout(STARTER, told.heard()).await;
        }
        signals.abort();
        api.drain(DRAIN_API).await;
        control.drain(DRAIN_CONTROL).await;
        profile.tidy();
        drop(lock);
        Ok(result?)
    }
}
