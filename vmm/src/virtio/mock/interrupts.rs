//! Records what a device under test tells its driver, and waits for it with a deadline.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::virtio::device::Interrupt;

/// How long a test waits for a device before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Records what the device told the driver.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    seen: Mutex<Seen>,
    thread: Condvar,
    task: Notify,
}

/// Counts of interrupts so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Used-buffer interrupts, by queue number.
    pub queues: [u32; 8],
    /// Configuration changes.
    pub config: u32,
    /// Times the device declared itself broken.
    pub needs_reset: u32,
}

impl Interrupts {
    /// Everything so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Blocks until `reached` holds of the counts; panics after [`DEADLINE`] naming `what`.
    pub fn wait_until(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let mut seen = self.lock();
        let deadline = Instant::now() + DEADLINE;
        while !reached(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; interrupts so far: {seen:?}");
            seen = self.thread.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// As [`wait_until`](Self::wait_until), in a task.
    pub async fn until(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.task.notified();
                if reached(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(waited.is_ok(), "waited in vain for {what}; interrupts so far: {:?}", self.seen());
    }

    /// Waits in a task for any interrupt; one that came since the last wait counts.
    pub async fn changed(&self) {
        self.task.notified().await;
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.thread.notify_all();
        self.task.notify_waiters();
        self.task.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

impl Interrupt for Interrupts {
    fn queue(&self, index: u16) {
        self.note(|seen| seen.queues[usize::from(index)] += 1);
    }

    fn config(&self) {
        self.note(|seen| seen.config += 1);
    }

    fn needs_reset(&self) {
        self.note(|seen| seen.needs_reset += 1);
    }
}
