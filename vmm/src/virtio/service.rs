//! Serving one queue from a task that can be taken off it at any moment. For the devices whose work never blocks (`rng`,
//! `console`); a disk has a thread of its own.
//!
//! The queue sits in a lock that the task holds only while it works, so [`Service`] can be dropped without the runtime or
//! the task having to make progress: once it has the queue back, nothing can touch guest memory any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Interrupt;
use super::queue::{Chain, QueueError, Virtqueue};
use crate::kick::Kick;

/// Serves one chain; returns how many bytes it wrote into the writable part.
type Handler = Box<dyn FnMut(&Virtqueue, &Chain) -> Result<u32, QueueError> + Send>;

type Shared = Arc<Mutex<Option<Served>>>;

struct Served {
    queue: Virtqueue,
    handle: Handler,
}

/// A queue in the care of a task, until this is dropped.
pub(crate) struct Service {
    served: Shared,
    kick: Arc<Kick>,
}

impl Service {
    /// Starts a task (a runtime must be entered) that calls `handle` for every chain. A queue found broken is left alone
    /// and reported once.
    pub fn start(device: &'static str, queue: Virtqueue, interrupt: Arc<dyn Interrupt>, handle: Handler) -> Self {
        let kick = Arc::clone(queue.kick());
        let service = Self { served: Arc::new(Mutex::new(Some(Served { queue, handle }))), kick };
        let (shared, kick) = (Arc::clone(&service.served), Arc::clone(&service.kick));
        // What the driver offered before the task began may have rung no bell that we heard.
        kick.signal();
        tokio::spawn(async move {
            loop {
                kick.notified().await;
                let outcome = lock(&shared).as_mut().map(Served::round);
                match outcome {
                    None => {
                        // The next activation may wait for the same kick already, and this may have been its signal.
                        kick.signal();
                        return;
                    }
                    Some(Ok(false)) => {}
                    Some(Ok(true)) => {
                        kick.signal();
                        tokio::task::yield_now().await;
                    }
                    Some(Err(error)) => {
                        tracing::warn!(device, %error, "Device stopped: the driver broke the rules");
                        lock(&shared).take();
                        interrupt.needs_reset();
                        return;
                    }
                }
            }
        });
        service
    }
}

impl Drop for Service {
    /// Takes the queue away; waits for the round being served, at most.
    fn drop(&mut self) {
        lock(&self.served).take();
        self.kick.signal();
    }
}

impl Served {
    /// Serves at most as many chains as the queue has entries, so that a guest that never stops cannot hold on to the
    /// lock. `true` if there is more to do.
    fn round(&mut self) -> Result<bool, QueueError> {
        self.queue.disable_doorbell()?;
        for _ in 0..self.queue.size() {
            let Some(chain) = self.queue.pop()? else { break };
            let written = (self.handle)(&self.queue, &chain)?;
            self.queue.push(chain.head, written)?;
        }
        self.queue.publish()?;
        self.queue.enable_doorbell()
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Option<Served>> {
    // Whoever panicked left the queue between two chains at worst; taking it away is still right.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
