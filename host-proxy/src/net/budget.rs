//! Memory that the guest's traffic may take: one account for everything that waits or is held for it. Who takes bytes gets a
//! [`Share`], which gives them back when it is dropped, so nothing that is forgotten stays counted, and nothing that is
//! counted is forgotten. Called by whoever keeps bytes of the guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An account of bytes. Cheap to clone; clones are the same account.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicUsize>,
}

/// Bytes taken from a [`Budget`].
#[derive(Debug)]
pub struct Share {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Takes `bytes`, or nothing if there are not so many.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        self.take_above(bytes, 0)
    }

    /// Takes `bytes` if `floor` bytes are left then: large wishes leave something for small ones.
    pub fn take_above(&self, bytes: usize, floor: usize) -> Option<Share> {
        let enough = |left: usize| left.checked_sub(bytes).filter(|rest| *rest >= floor);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).ok()?;
        Some(Share { left: Arc::clone(&self.left), bytes })
    }

    /// Bytes that are left.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_from_any_thread() {
        let budget = Budget::new(100);
        let share = budget.take(60).unwrap();
        assert!(budget.take(41).is_none() && budget.take_above(30, 11).is_none());
        let other = budget.take_above(30, 10).unwrap();
        assert_eq!(budget.left(), 10);
        std::thread::spawn(move || drop(share)).join().unwrap();
        drop(other);
        assert_eq!(budget.left(), 100);
    }

    proptest! {
        #[test]
        fn no_sequence_takes_more_than_there_is(steps in prop::collection::vec((0usize..200, any::<bool>()), 0..60)) {
            let budget = Budget::new(500);
            let mut held = Vec::new();
            for (bytes, drop_one) in steps {
                if drop_one {
                    held.pop();
                } else if let Some(share) = budget.take(bytes) {
                    held.push(share);
                }
                let taken: usize = held.iter().map(|share| share.bytes).sum();
                prop_assert_eq!(budget.left(), 500 - taken);
            }
        }
    }
}
