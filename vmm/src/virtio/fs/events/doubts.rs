//! Names that the guest has just given by renaming. What it knew of the object it goes on believing under the new name, perhaps for
//! long; and whoever on the host takes that name away in this very moment counts as the guest itself ([`Own`](super::own::Own)).
//! So once nothing counts as the guest's own any more, it is looked whether what it put there is there still.
//!
//! ```text
//!   the guest renames ─► doubted ─► DUE later: still there?  ─► nothing, or told as removed (and made)
//!                          │
//!                          └─► settled: somebody's change of the name is told, or the guest changes it again
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::At;
use super::own::LATELY;
use crate::virtio::fs::host::{Identity, Kind};

/// Names doubted at once; of further ones the guest learns when it asks.
const MOST: usize = 4096;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<HashMap<At, Doubt>>);

/// What the guest put there, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// What is to be there.
    pub identity: Identity,
    /// What that is.
    pub kind: Kind,
    /// When the guest did it.
    pub when: Instant,
}

impl Doubts {
    /// The guest gives, or has given, this name.
    pub fn add(&self, at: At, doubt: Doubt) {
        let mut doubts = self.lock();
        if doubts.len() < MOST || doubts.contains_key(&at) {
            doubts.insert(at, doubt);
        }
    }

    /// Nobody need look at this name.
    pub fn settle(&self, at: &At) {
        self.lock().remove(at);
    }

    /// How long it is, from `now` on, until somebody has to look; `None` if there is nothing to look at.
    pub fn next(&self, now: Instant) -> Option<Duration> {
        let first = self.lock().values().map(|doubt| doubt.when).min()?;
        Some((first + LATELY).saturating_duration_since(now))
    }

    /// What is to be looked at by `now`.
    pub fn due(&self, now: Instant) -> Vec<(At, Doubt)> {
        self.lock().extract_if(|_, doubt| doubt.when + LATELY <= now).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<At, Doubt>> {
        // A map has no broken state in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> At {
        At { folder: 1, name: name.into() }
    }

    fn doubt(when: Instant) -> Doubt {
        Doubt { identity: Identity { device: 1, inode: 2, birth: 3 }, kind: Kind::File, when }
    }

    #[test]
    fn a_name_is_looked_at_once_and_not_before_its_time() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        assert_eq!(doubts.next(now), None);
        doubts.add(at("second"), doubt(now + LATELY / 2));
        doubts.add(at("first"), doubt(now));
        doubts.add(at("settled"), doubt(now));
        doubts.settle(&at("settled"));
        assert_eq!(doubts.next(now), Some(LATELY));
        assert_eq!(doubts.due(now + LATELY / 2), []);
        assert_eq!(doubts.due(now + LATELY), [(at("first"), doubt(now))]);
        assert_eq!(doubts.next(now + 5 * LATELY), Some(Duration::ZERO));
        assert_eq!(doubts.due(now + 5 * LATELY).len(), 1);
        assert_eq!(doubts.due(now + 5 * LATELY), []);
    }

    #[test]
    fn f10_many_names_take_no_more_than_their_bound() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        (0..2 * MOST).for_each(|number| doubts.add(at(&number.to_string()), doubt(now)));
        doubts.add(at("0"), doubt(now + LATELY));
        assert_eq!(doubts.due(now + LATELY).len(), MOST - 1);
        assert_eq!(doubts.due(now + 2 * LATELY), [(at("0"), doubt(now + LATELY))]);
    }
}
