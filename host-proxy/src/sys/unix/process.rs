//! Sessions, signals and limits of a process. Called by `cli::daemon`, `daemon` and `cli::shell`.

use std::fs::OpenOptions;
use std::io;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// Has `command` outlive this process: here the daemon sees to that itself, see [`detach`].
pub fn in_background(_command: &mut Command) {}

/// Leaves the starter's session and terminal, and makes every file of this process private at birth.
pub fn detach() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Fails only for a process group leader, which has no terminal to lose.
    let _ = rustix::process::setsid();
}

/// Closes the pipe that was our standard output, so that the starter sees its end; writes go nowhere from now on.
pub fn release_stdout() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(())
}

/// Ends a process that does not answer.
pub fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

/// Allows as many open files as the system grants: each API connection takes one, and the default of 1024 (256 on macOS)
/// is less than what a busy client opens.
pub fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wished = limit.maximum.map_or(65_536, |maximum| maximum.min(65_536));
    if limit.current.is_some_and(|current| current < wished) {
        // What it was is enough to run.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(wished), maximum: limit.maximum });
    }
}

/// How many files this process may have open; `None` if no limit is known.
pub fn file_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).current
}

/// Requests to end: SIGTERM, SIGINT, SIGHUP.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
}

impl StopSignals {
    /// From here on these signals are ours to answer.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one; how long this process has before the system ends it, if it will: nobody here says so. Cancel-safe.
    pub async fn next(&mut self) -> Option<Duration> {
        tokio::select! {
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
            _ = self.hangup.recv() => None,
        }
    }
}
