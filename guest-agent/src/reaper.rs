//! The only place that starts and waits for processes. PID 1 inherits every orphan of the guest; this thread collects them
//! all and hands each of our own children's status to whoever started it. Called by `engine`, `control::shell`, `data_disk`
//! and `shutdown`.
//!
//! A child may end before `spawn` returned, and an orphan may get a number that a child had. So processes are started and
//! collected under one lock: what is collected while nobody is registered for its number is an orphan, always.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, pidfd_open, wait, waitid,
};

/// How a process ended, as a shell says it: the exit code, or 128 + signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub i32);

impl Exit {
    fn of(status: WaitStatus) -> Self {
        Self(status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255))
    }

    /// Code 0.
    pub fn success(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            signal @ 129..=192 => write!(f, "killed by signal {}", signal - 128),
            code => write!(f, "exit code {code}"),
        }
    }
}

/// Starts and collects processes. Cheap to clone.
#[derive(Clone)]
pub struct Reaper(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    /// Notified at each spawn, and when there is no child any more.
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<Pid, Sender<Exit>>,
    starts: u64,
    orphans: u64,
    /// The kernel said that there is no child at all, and none was started since.
    childless: bool,
}

/// A child of ours that has been started.
pub struct Running {
    pid: Pid,
    exit: Mutex<Receiver<Exit>>,
    reaper: Reaper,
}

impl Reaper {
    /// Starts the collecting thread. One per process: it collects every child there is.
    pub fn start() -> io::Result<Self> {
        let reaper = Self(Arc::new(Shared { table: Mutex::default(), changed: Condvar::new() }));
        let collector = reaper.clone();
        std::thread::Builder::new().name("reaper".into()).spawn(move || collector.run())?;
        Ok(reaper)
    }

    /// Starts `command`. The `Child` is for its pipes only: its status comes through `Running`.
    pub fn spawn(&self, command: &mut Command) -> io::Result<(Child, Running)> {
        let mut table = self.table();
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (sender, exit) = channel();
        table.waiting.insert(pid, sender);
        table.starts += 1;
        table.childless = false;
        self.0.changed.notify_all();
        Ok((child, Running { pid, exit: Mutex::new(exit), reaper: self.clone() }))
    }

    /// Orphans collected so far.
    pub fn orphans(&self) -> u64 {
        self.table().orphans
    }

    /// Waits until this process has no children, own or inherited: `false` if it still has some after `time`.
    pub fn childless_within(&self, time: Duration) -> bool {
        let waited = self.0.changed.wait_timeout_while(self.table(), time, |table| !table.childless);
        waited.unwrap_or_else(PoisonError::into_inner).0.childless
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic ends the machine, so a poisoned table is only ever seen on the way out.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            // Only learns that something ended; collecting it has to wait for a `spawn` that is under way.
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => self.collect(),
                Err(Errno::INTR) => {}
                Err(_) => self.wait_for_a_child(),
            }
        }
    }

    fn collect(&self) {
        let mut table = self.table();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            match table.waiting.remove(&pid) {
                Some(waiting) => {
                    let _nobody_asks_any_more = waiting.send(Exit::of(status));
                }
                None => table.orphans += 1,
            }
        }
    }

    /// There is no child at all. Orphans can only come from descendants of children, so a spawn is the next event.
    fn wait_for_a_child(&self) {
        let mut table = self.table();
        // Between the failed `waitid` and the lock a child may have been started: then its number is registered.
        if table.waiting.is_empty() {
            table.childless = true;
            self.0.changed.notify_all();
            let starts = table.starts;
            let waited = self.0.changed.wait_while(table, |table| table.starts == starts);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Running {
    /// Waits for the end.
    pub fn wait(&self) -> Exit {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap_or(Exit(255))
    }

    /// Waits for the end, `None` if it did not come in time.
    pub fn wait_for(&self, time: Duration) -> Option<Exit> {
        match self.exit.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(time) {
            Ok(exit) => Some(exit),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Exit(255)),
        }
    }

    /// Sends a signal, to nobody if the process has been collected: its number may be another's by then.
    pub fn signal(&self, signal: Signal) {
        let table = self.reaper.table();
        if table.waiting.contains_key(&self.pid) {
            let _gone = kill_process(self.pid, signal);
        }
    }

    /// Sends a signal to the process group that the process leads, under the same condition.
    pub fn signal_group(&self, signal: Signal) {
        let table = self.reaper.table();
        if table.waiting.contains_key(&self.pid) {
            let _gone = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// A descriptor that becomes readable when the process ends; `None` if it has been collected.
    pub fn ended(&self) -> io::Result<Option<OwnedFd>> {
        let table = self.reaper.table();
        if !table.waiting.contains_key(&self.pid) {
            return Ok(None);
        }
        Ok(Some(pidfd_open(self.pid, PidfdFlags::empty())?))
    }

    /// The process's number, for a log line.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }
}
