//! Why QEMU is to end, decided once by whoever comes first: a caller's `kill`, a device that broke, a deadline. Called by
//! the engine, the device threads and the supervisor.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, pidfd_send_signal};

use crate::engine::Stop;

/// Kills the child once there is both a child and a reason, in whichever order they come.
#[derive(Debug, Default)]
pub struct Fate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A descriptor, not a number: it can never mean another process.
    child: Option<OwnedFd>,
    reason: Option<Stop>,
}

impl Fate {
    /// Ends the child because of `reason`, unless its end was decided before.
    pub fn seal(&self, reason: Stop) {
        let mut state = self.lock();
        state.reason.get_or_insert(reason);
        state.carry_out();
    }

    /// From now on, this is the process to end.
    pub fn child(&self, descriptor: OwnedFd) {
        let mut state = self.lock();
        state.child = Some(descriptor);
        state.carry_out();
    }

    /// What was decided so far.
    pub fn reason(&self) -> Option<Stop> {
        self.lock().reason.clone()
    }

    /// The child is gone; says whether somebody had decided that.
    pub fn fulfilled(&self) -> Option<Stop> {
        let mut state = self.lock();
        state.child = None;
        state.reason.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry_out(&self) {
        if let (Some(child), Some(_)) = (&self.child, &self.reason) {
            // Fails only if the child is gone already.
            let _ = pidfd_send_signal(child, Signal::KILL);
        }
    }
}
