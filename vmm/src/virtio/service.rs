//! Serving one queue from a task that can be taken off it at any moment. For the devices whose work never blocks (`rng`,
//! `console`); a disk has a thread of its own.
//!
//! The queue sits in a lock that the task holds only while it works, so [`Service`] can be dropped without the runtime or
//! the task having to make progress: once it has the queue back, nothing can touch guest memory any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Interrupt;
use super::panicking::Panicking;
use super::queue::{Chain, QueueError, Virtqueue};
use crate::kick::Kick;
use crate::rate_limit::RateLimit;

/// Chains served in one round, so that a guest that never stops can hold neither the lock nor a worker thread.
const ROUND: u16 = 16;

/// Limits a device's warnings. The device keeps it across resets: a guest can break its queue as often as it likes.
pub(crate) type Warnings = Arc<Mutex<RateLimit>>;

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
    pub fn start(
        device: &'static str,
        queue: Virtqueue,
        interrupt: Arc<dyn Interrupt>,
        warnings: Warnings,
        handle: Handler,
    ) -> Self {
        let kick = Arc::clone(queue.kick());
        let service = Self { served: Arc::new(Mutex::new(Some(Served { queue, handle }))), kick };
        let (shared, kick) = (Arc::clone(&service.served), Arc::clone(&service.kick));
        // What the driver offered before the task began may have rung no bell that we heard.
        kick.signal();
        tokio::spawn(async move {
            loop {
                kick.notified().await;
                match step(device, &shared, &*interrupt) {
                    Ok(Next::Gone) => {
                        // The next activation may wait for the same kick already, and this may have been its signal.
                        kick.signal();
                        return;
                    }
                    Ok(Next::Wait) => {}
                    Ok(Next::Again) => {
                        kick.signal();
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        if let Some(suppressed) = lock(&warnings).allow() {
                            tracing::warn!(device, %error, suppressed, "Device stopped: the driver broke the rules");
                        }
                        return;
                    }
                }
            }
        });
        service
    }
}

/// What to do after a round.
enum Next {
    Wait,
    Again,
    /// The queue was taken away.
    Gone,
}

/// Serves one round; gives a broken queue up.
fn step(device: &'static str, shared: &Shared, interrupt: &dyn Interrupt) -> Result<Next, QueueError> {
    let mut slot = lock(shared);
    let _told = Panicking::tells(device, interrupt);
    let Some(served) = slot.as_mut() else { return Ok(Next::Gone) };
    let outcome = served.round();
    if outcome.is_err() {
        *slot = None;
        // Still under our lock: the driver's reset waits for it, so this cannot hit the queue that comes next.
        interrupt.needs_reset();
    }
    Ok(if outcome? { Next::Again } else { Next::Wait })
}

impl Drop for Service {
    /// Takes the queue away; waits for the round being served, at most.
    fn drop(&mut self) {
        lock(&self.served).take();
        self.kick.signal();
    }
}

impl Served {
    /// Serves at most [`ROUND`] chains. `true` if there is more to do.
    fn round(&mut self) -> Result<bool, QueueError> {
        self.queue.disable_doorbell()?;
        for _ in 0..ROUND {
            let Some(chain) = self.queue.pop()? else { break };
            let written = (self.handle)(&self.queue, &chain)?;
            self.queue.push(chain.head, written)?;
        }
        self.queue.publish()?;
        self.queue.enable_doorbell()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left the queue between two chains at worst; taking it away is still right.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use tokio::sync::Notify;

    use super::*;
    use crate::virtio::mock::{Descriptor, MockDriver};

    /// Notes whether a reset of the device would have had to wait while the device declared itself broken.
    #[derive(Default)]
    struct Watcher {
        shared: OnceLock<Shared>,
        held: OnceLock<bool>,
        told: Notify,
    }

    impl Interrupt for Watcher {
        fn queue(&self, _index: u16) {}
        fn config(&self) {}
        fn needs_reset(&self) {
            let shared = self.shared.get().expect("set before the task runs");
            self.held.set(shared.try_lock().is_err()).expect("told once");
            self.told.notify_one();
        }
    }

    #[tokio::test]
    async fn q5_a_reset_waits_until_the_device_has_said_that_it_is_broken() {
        let mut driver = MockDriver::new(&[8]);
        driver.rings[0].set_descriptor(0, Descriptor::new(u64::MAX, 8, 0, 0));
        driver.rings[0].offer(0);
        let (watcher, warnings) = (Arc::new(Watcher::default()), Warnings::default());
        let queue = driver.rings[0].virtqueue();
        let handle: Handler = Box::new(|_, _| Ok(0));
        let service = Service::start("test", queue, Arc::clone(&watcher) as _, Arc::clone(&warnings), handle);
        // The task has not run yet: this test is its only thread.
        assert!(watcher.shared.set(Arc::clone(&service.served)).is_ok());
        watcher.told.notified().await;
        assert_eq!(watcher.held.get(), Some(&true));
        tokio::task::yield_now().await;
        assert_eq!(lock(&warnings).allow(), None, "the next one is held back");
    }

    #[tokio::test]
    async fn a_device_that_panics_says_so_and_serves_again_after_a_reset() {
        let mut driver = MockDriver::new(&[8]);
        let interrupts = Arc::clone(&driver.interrupts);
        let start =
            |queue, handle| Service::start("test", queue, Arc::clone(&interrupts) as _, Warnings::default(), handle);
        driver.rings[0].add(&[b"x"], &[]);
        let service = start(driver.rings[0].virtqueue(), Box::new(|_, _| panic!("on purpose")));
        driver.interrupts.until("NEEDS_RESET", |seen| seen.needs_reset == 1).await;
        drop(service);
        driver.rings[0].clear();
        driver.rings[0].add(&[b"x"], &[]);
        let _service = start(driver.rings[0].virtqueue(), Box::new(|_, _| Ok(0)));
        driver.interrupts.until("an answer", |seen| seen.queues[0] == 1).await;
        assert_eq!(driver.interrupts.seen().needs_reset, 1, "told once");
    }

    #[test]
    fn q15_a_round_ends_although_the_driver_does_not() {
        let mut driver = MockDriver::new(&[64]);
        let queue = driver.rings[0].virtqueue();
        let all = ROUND + 3;
        for _ in 0..all {
            driver.rings[0].add(&[b"x"], &[]);
        }
        let mut served = Served { queue, handle: Box::new(|_, _| Ok(0)) };
        assert!(served.round().unwrap());
        assert_eq!(driver.rings[0].used().len(), usize::from(ROUND));
        assert!(!served.round().unwrap());
        assert_eq!(driver.rings[0].used().len(), 3);
    }
}
