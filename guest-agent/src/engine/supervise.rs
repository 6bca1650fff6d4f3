//! A program that is started again when it ends, with its output in a bounded log. Called by `engine`.
//!
//! ```text
//!              ┌────────────── after a pause ──────────────┐
//!              ▼                                           │
//!   start ──▶ Running ──(ends by itself)──▶ EngineDown ────┤
//!              │  └─(not ready in time)──▶ killed ─────────┘
//!              └─stop─▶ SIGTERM ──(grace)──▶ SIGKILL ──▶ Stopped
//! ```
//! The pause doubles from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`] and begins anew after a run of [`GOOD_RUN`]. A program that was
//! never ready in [`ATTEMPTS`] runs will not be: then the boot has failed.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lighter_protocol::Event;
use rustix::process::Signal;

use super::output::Output;
use crate::host::Host;
use crate::paths;
use crate::reaper::{Reaper, Running};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const GOOD_RUN: Duration = Duration::from_secs(60);
const ATTEMPTS: u32 = 4;

/// The command for a program, without what the kernel's command line has put into PID 1's environment.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", paths::PROGRAMS).env("HOME", "/root");
    command
}

/// A program to keep running.
pub struct Service {
    /// For messages.
    pub name: &'static str,
    /// Path of the log.
    pub log: &'static str,
    /// How it is started.
    pub command: Box<dyn Fn() -> Command + Send>,
    /// Waits until it is ready; its argument becomes readable when the program has ended.
    pub ready: Ready,
}

/// See [`Service::ready`].
pub type Ready = Box<dyn Fn(&OwnedFd) -> io::Result<()> + Send>;

/// A service that is being supervised.
pub struct Supervised(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    stopping: bool,
    stopped: bool,
}

impl Supervised {
    /// Starts the service and the thread that keeps it running.
    pub fn start(service: Service, reaper: &Reaper, host: &Host) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let supervisor =
            Supervisor { service, reaper: reaper.clone(), host: host.clone(), shared: Arc::clone(&shared) };
        thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run())?;
        Ok(Self(shared))
    }

    /// Ends the service for good: SIGTERM, and SIGKILL after `grace`.
    pub fn stop(&self, grace: Duration) {
        let mut state = self.0.state();
        state.stopping = true;
        self.0.changed.notify_all();
        for (signal, grace) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(2))] {
            if let Some(running) = &state.running {
                running.signal(signal);
            }
            let waited = self.0.changed.wait_timeout_while(state, grace, |state| !state.stopped);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.stopped {
                return;
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Supervisor {
    service: Service,
    reaper: Reaper,
    host: Host,
    shared: Arc<Shared>,
}

impl Supervisor {
    fn run(self) {
        let mut pause = FIRST_PAUSE;
        let (mut attempts, mut ever_ready) = (0, false);
        loop {
            let started = Instant::now();
            let run = self.one_run();
            ever_ready |= run.ready;
            attempts += 1;
            if self.stopping() {
                break;
            }
            let reason = format!("{} ended: {}", self.service.name, run.reason);
            tracing::warn!(reason, "engine is down");
            self.host.report(&Event::EngineDown { reason: reason.clone() });
            if !ever_ready && attempts >= ATTEMPTS {
                let stage = self.service.name.to_owned();
                self.host.report(&Event::Failed { stage, reason: format!("{reason} (attempt {attempts}, giving up)") });
                break;
            }
            if started.elapsed() >= GOOD_RUN {
                pause = FIRST_PAUSE;
            }
            self.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let mut state = self.shared.state();
        state.stopped = true;
        self.shared.changed.notify_all();
    }

    /// Waits before the next run, or less when stopping.
    fn pause(&self, pause: Duration) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), pause, |state| !state.stopping);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn stopping(&self) -> bool {
        self.shared.state().stopping
    }

    /// From start to end.
    fn one_run(&self) -> Run {
        let (running, output) = match self.start_program() {
            Ok(Some(started)) => started,
            Ok(None) => return Run { ready: false, reason: "stopping".into() },
            Err(error) => return Run { ready: false, reason: format!("it could not be started: {error}") },
        };
        let readiness = readiness(&running, &self.service.ready);
        if let Err(error) = &readiness {
            // Either it has ended, or it is no use.
            tracing::warn!(name = self.service.name, %error, "not ready");
            running.signal(Signal::KILL);
        }
        let exit = running.wait();
        self.shared.state().running = None;
        Run { ready: readiness.is_ok(), reason: output.reason(exit, readiness.err()) }
    }

    fn start_program(&self) -> io::Result<Option<(Arc<Running>, Output)>> {
        let (reader, writer) = io::pipe()?;
        let mut command = (self.service.command)();
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        // Under the lock, so that `stop` finds either nothing started or something to signal.
        let mut state = self.shared.state();
        if state.stopping {
            return Ok(None);
        }
        let (_, running) = self.reaper.spawn(&mut command)?;
        let running = Arc::new(running);
        state.running = Some(Arc::clone(&running));
        drop(state);
        spare_from_memory_pressure(running.pid());
        Ok(Some((running, Output::keep(reader, self.service.log)?)))
    }
}

/// Waits until the program is ready. One that has ended before anybody could look never was.
fn readiness(running: &Running, ready: &Ready) -> io::Result<()> {
    match running.ended()? {
        Some(ended) => ready(&ended),
        None => Err(io::Error::other("it ended")),
    }
}

/// The engine should outlive containers when memory runs out (the value of Docker's own service file).
fn spare_from_memory_pressure(pid: i32) {
    let _ended_already = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "-500");
}

struct Run {
    ready: bool,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x1_a_program_that_ends_at_once_was_never_ready() {
        let reaper = Reaper::start().expect("a thread");
        let (_, running) = reaper.spawn(&mut Command::new("true")).expect("`true` is everywhere");
        // Collected: from here on there is no descriptor to wait for its end by.
        running.wait_for(Duration::from_secs(20)).expect("it ends");
        assert!(running.ended().expect("no error").is_none());
        let ready: Ready = Box::new(|_| Ok(()));
        assert_eq!(readiness(&running, &ready).expect_err("it is gone").to_string(), "it ended");
    }
}
