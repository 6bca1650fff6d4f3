//! The stop latch: the first reason to end a machine wins, and everybody learns of it. Set by vCPU threads, the keyboard
//! controller and `kill`; watched by the supervisor in `vcpus`.

use tokio::sync::watch;

use crate::engine::Stop;

/// Holds the reason once there is one.
#[derive(Debug)]
pub struct StopLatch(watch::Sender<Option<Stop>>);

impl Default for StopLatch {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl StopLatch {
    /// Asks for the end. Later reasons are ignored. Callable from any thread.
    pub fn request(&self, stop: Stop) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(stop);
            }
            first
        });
    }

    /// Whether the end has been asked for.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the reason. Cancel-safe.
    pub async fn requested(&self) -> Stop {
        let mut watch = self.0.subscribe();
        loop {
            if let Some(stop) = watch.borrow_and_update().clone() {
                return stop;
            }
            // The sender is `self`, so it cannot have gone; if it ever had, the machine would be gone too.
            if watch.changed().await.is_err() {
                return Stop::Killed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_wins_and_later_waiters_see_it() {
        let latch = StopLatch::default();
        assert!(!latch.is_requested());
        latch.request(Stop::Reset);
        latch.request(Stop::Killed);
        assert_eq!(latch.requested().await, Stop::Reset);
        assert_eq!(latch.requested().await, Stop::Reset);
    }
}
