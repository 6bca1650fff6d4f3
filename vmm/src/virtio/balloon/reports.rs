//! The thread of the reporting queue: takes a report, gives the memory behind its blocks back to the host, and only then returns
//! it. Until that moment the driver must not use the blocks (virtio 1.2 §5.5.6.7.1), and from then on it may: so what it writes
//! afterwards is never lost. A guest that breaks this promise, or reports memory that it uses, loses what is its own.
//!
//! A thread, not a task, because hundreds of MiB of small pages take the host some milliseconds to collect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::GiveBack;
use crate::rate_limit::RateLimit;
use crate::virtio::device::Interrupt;
use crate::virtio::panicking::Panicking;
use crate::virtio::queue::{Chain, QueueError, Virtqueue};

/// What goes to the log once in a while.
#[derive(Default)]
pub(super) struct Limits {
    /// The driver broke the rules.
    broken: RateLimit,
    /// The host did not take memory.
    refused: RateLimit,
}

/// One activation of the device.
pub(super) struct Reports {
    pub queue: Virtqueue,
    pub interrupt: Arc<dyn Interrupt>,
    pub give_back: GiveBack,
    pub limits: Arc<Mutex<Limits>>,
    /// Set, and the queue's kick signalled, when the device is reset.
    pub stop: Arc<AtomicBool>,
}

impl Reports {
    /// Serves until told to stop, or until the driver breaks the rules.
    pub fn run(mut self) {
        let interrupt = Arc::clone(&self.interrupt);
        let _told = Panicking::tells("balloon", &*interrupt);
        while !self.stopping() {
            if let Err(error) = self.drain() {
                if let Some(suppressed) = self.limits().broken.allow() {
                    tracing::warn!(device = "balloon", %error, suppressed, "Device stopped: the driver broke the rules");
                }
                return self.interrupt.needs_reset();
            }
            if !self.stopping() {
                self.queue.kick().wait();
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Serves all there is.
    pub(super) fn drain(&mut self) -> Result<(), QueueError> {
        loop {
            self.queue.disable_doorbell()?;
            while !self.stopping() {
                let Some(chain) = self.queue.pop()? else { break };
                self.take(&chain);
                // Nothing was written that the driver could read.
                self.queue.push(chain.head, 0)?;
                self.queue.publish()?;
            }
            if self.stopping() || !self.queue.enable_doorbell()? {
                return Ok(());
            }
        }
    }

    /// Gives back what the chain lends for writing; what is lent for reading is to be kept. Each block by itself: what cannot be
    /// given back, the guest keeps, and the next one is tried all the same.
    fn take(&self, chain: &Chain) {
        for block in &chain.writable {
            if self.stopping() {
                return;
            }
            if let Err(error) = self.give_back.range(self.queue.memory(), block.addr, block.len.into())
                && let Some(suppressed) = self.limits().refused.allow()
            {
                tracing::warn!(%error, suppressed, "Memory that the guest has freed could not be given back to this computer");
            }
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        // Counters have no broken state.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
