//! The process that one profile's machine lives in, when there is one: takes the lock, listens, keeps the machine, drains. The
//! only place where the parts meet. Called by `cli::daemon` and by `cli::start --foreground`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::control::Phase;
use crate::forward::List;
use crate::home::{HomeError, Profile};
use crate::lock::Lock;
use crate::machine::Platform;
use crate::settings::Wishes;
use crate::sys::endpoint::{Inherited, Listener};

/// Serves `docker.sock`.
mod api;
/// From power on to a dockerd that answers.
mod ascent;
/// How soon to try again.
mod backoff;
/// Where the machine's state is written for everybody.
pub mod board;
/// From settings to a machine's configuration.
mod boot;
/// Keeps the guest's clock right.
mod clock;
/// The guest's last printed lines.
mod console;
/// The data disk.
pub mod disk;
/// The door into the guest.
pub mod door;
/// Why a start failed.
pub mod fault;
/// Folders of this computer, for the machine and its agent.
mod folders;
/// The agent's hello and what it reports.
mod hello;
/// Changes in shared folders, passed on.
mod herald;
/// When there is a machine.
mod keeper;
/// The life of one machine.
mod lifecycle;
/// The log.
pub mod log;
/// What dockerd says of itself.
mod memory;
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
/// The environment that counts.
mod surroundings;
/// Stage times for measurements.
mod timeline;
/// Root certificates for the guest.
pub mod trust;
/// What is wanted of the machine.
mod wish;

use api::Serving;
use board::Board;
use door::Door;
use fault::Fault;
use keeper::Keeper;
use memory::Memory;
use serve::Desk;
use surroundings::Surroundings;

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
    /// The lock file.
    #[error("Cannot lock {path}: ask `lighter doctor` whether its place is fit for it")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one already.
    #[error("Another daemon runs this profile already: `lighter status` shows it")]
    Running,
    /// A socket.
    #[error("Cannot listen at {path}: move away what is there, or ask `lighter doctor`")]
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

/// What a daemon does first.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// It starts a machine with these flags over `config.toml`.
    Awake(Wishes),
    /// It waits until somebody wants one.
    Asleep,
}

/// A daemon that listens but does nothing yet.
pub struct Daemon {
    profile: Profile,
    begin: Begin,
    board: Arc<Board>,
    api: Listener,
    /// Where every docker client looks, if that is free.
    well_known: Option<Listener>,
    control: Listener,
    // Last, because a field is dropped after those above it: who gets the lock finds no sockets of ours.
    lock: Lock,
}

impl Daemon {
    /// Takes the profile's lock and binds its sockets, so that the first API request waits instead of failing; sockets that
    /// a service manager holds already are taken from `inherited`. `since` is when the process began. Must be called inside
    /// a tokio runtime.
    pub fn listen(
        profile: Profile,
        begin: Begin,
        inherited: &mut Inherited,
        since: Instant,
    ) -> Result<Daemon, DaemonError> {
        profile.prepare()?;
        let path = profile.daemon_lock();
        // Patience for a predecessor that has said goodbye and is just about to go.
        let lock = Lock::acquire(&path, Duration::from_secs(5)).and_then(|mut lock| {
            lock.as_mut().map_or(Ok(()), Lock::sign)?;
            Ok(lock)
        });
        let lock = lock.map_err(|source| DaemonError::Lock { path, source })?.ok_or(DaemonError::Running)?;
        profile.tidy();
        profile.prepare()?;
        let mut open =
            |path: PathBuf| Listener::open(&path, inherited).map_err(|source| DaemonError::Listen { path, source });
        let control = open(profile.control_socket())?;
        let api = open(profile.docker_socket())?;
        let well_known = Listener::well_known();
        let phase = if begin == Begin::Asleep { Phase::Stopped } else { Phase::Starting };
        Ok(Daemon { profile, begin, board: Arc::new(Board::new(phase, since)), api, well_known, control, lock })
    }

    /// Keeps the machine until the daemon is to end, and leaves nothing behind.
    pub async fn run(self, platform: Arc<dyn Platform>) -> Result<(), DaemonError> {
        let Daemon { profile, begin, board, api, well_known, control, lock } = self;
        let (wants, inbox) = wish::channel();
        let memory = Arc::new(Memory::of(&profile));
        let door =
            Arc::new(Door::new(Arc::clone(&board), Arc::clone(&memory), wants.clone(), &profile.docker_socket()));
        let signals = signals::forward(wants.clone())
            .map_err(|source| DaemonError::System { what: "listen to signals", source })?;
        let list = Arc::new(List::default());
        let apis: Vec<Serving> =
            [Some(api), well_known].into_iter().flatten().map(|api| api::serve(api, Arc::clone(&door))).collect();
        let surroundings = Arc::new(Surroundings::of_this_process());
        let desk = Desk {
            profile: profile.clone(),
            board: Arc::clone(&board),
            door: Arc::clone(&door),
            list: Arc::clone(&list),
            wants,
            surroundings: Arc::clone(&surroundings),
        };
        let control = serve::serve(control, desk);
        let first = match begin {
            Begin::Awake(wishes) => Some(wishes),
            Begin::Asleep => None,
        };
        let keeper = Keeper {
            profile: &profile,
            platform,
            board: Arc::clone(&board),
            door,
            memory,
            list,
            surroundings,
            inbox,
            lock: &lock,
        };
        let result = keeper.keep(first).await;
        if result.is_err() {
            // A start can fail faster than its starter comes to ask.
            let _ = tokio::time::timeout(STARTER, board.heard()).await;
        }
        board.end();
        signals.abort();
        // Nobody new comes in, at whichever of them, while others leave.
        let mut drains: JoinSet<()> = apis.into_iter().map(|api| api.drain(DRAIN_API)).collect();
        while drains.join_next().await.is_some() {}
        control.drain(DRAIN_CONTROL).await;
        profile.tidy();
        drop(lock);
        Ok(result?)
    }
}
