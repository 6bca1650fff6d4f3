//! `Kick`: the one way to wake whoever serves a queue. Signalled by a vCPU thread's doorbell or by the host side; waited
//! for either by a tokio task (`notified`) or by a blocking worker thread (`wait`). Signals latch: one that comes before
//! the wait is not lost, and many before one wait count as one. There is one waiter at a time: whoever stops waiting for a
//! kick that others may go on to use signals it once more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// A latched wake-up that threads and tasks can both wait for.
#[derive(Debug, Default)]
pub struct Kick {
    signalled: Mutex<bool>,
    thread: Condvar,
    task: Notify,
    bell: Option<Box<dyn Bell>>,
}

/// What a thread sleeps on instead of the kick itself, so that it hears who rings from another process without a thread between.
pub trait Bell: Send + Sync + std::fmt::Debug {
    /// Wakes who sleeps, or makes the next sleep return at once.
    fn ring(&self);
    /// Sleeps until it rings. `false`: nobody will ring from outside any more, and there is no sleeping here.
    fn sleep(&self) -> bool;
}

impl Kick {
    /// One for a thread that only ever calls [`wait`](Self::wait): it wakes when `bell` rings, too.
    pub fn behind(bell: Box<dyn Bell>) -> Self {
        Self { bell: Some(bell), ..Self::default() }
    }

    /// Wakes the waiter, or makes its next wait return at once. Cheap, never blocks for long, callable from any thread.
    pub fn signal(&self) {
        // A guest may ring at a million times a second: whoever set the flag first wakes the waiter.
        if std::mem::replace(&mut *self.lock(), true) {
            return;
        }
        self.thread.notify_one();
        self.task.notify_one();
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Blocks this thread until a signal has come, and consumes it. Behind a bell it may return without one.
    pub fn wait(&self) {
        if let Some(bell) = &self.bell {
            if std::mem::take(&mut *self.lock()) {
                return;
            }
            if bell.sleep() {
                // One that comes right now came before this returned, as the one that rang did.
                *self.lock() = false;
                return;
            }
        }
        let mut signalled = self.lock();
        while !*signalled {
            signalled = self.thread.wait(signalled).unwrap_or_else(PoisonError::into_inner);
        }
        *signalled = false;
    }

    /// Blocks this thread until a signal has come, and consumes it, or until the time is over.
    pub fn wait_for(&self, time: Duration) {
        let waited = self.thread.wait_timeout_while(self.lock(), time, |signalled| !*signalled);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Waits in a task until a signal has come, and consumes it. Cancel-safe.
    pub async fn notified(&self) {
        loop {
            if std::mem::take(&mut *self.lock()) {
                return;
            }
            self.task.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool has no broken state, so a panic elsewhere is no reason to panic here.
        self.signalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_signal_before_the_wait_is_kept_and_many_count_as_one() {
        let kick = Kick::default();
        kick.signal();
        kick.signal();
        kick.wait();
        assert!(!*kick.lock());
    }

    #[test]
    fn a_wait_with_an_end_takes_a_signal_or_ends_without_one() {
        let kick = Kick::default();
        kick.wait_for(Duration::ZERO);
        kick.signal();
        kick.wait_for(Duration::MAX);
        assert!(!*kick.lock());
    }

    #[tokio::test]
    async fn a_task_wakes_on_a_signal_from_a_thread() {
        let kick = Arc::new(Kick::default());
        let other = Arc::clone(&kick);
        let thread = std::thread::spawn(move || other.signal());
        kick.notified().await;
        thread.join().expect("the thread only signals");
        assert!(!*kick.lock());
    }
}
