//! Objects beside which there is no record of what a container sees: each is asked for one once, and then not before it has
//! changed. Setting an extended attribute sets the time of change, whoever does it; so one that has the same time of change as
//! before has no more attributes than before. Called by `records`.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::virtio::fs::host::{Attributes, Identity, Time};

/// Objects remembered: 640 KiB, once there are any. A new one takes the place of an old one.
const PLACES: usize = 16_384;
/// A time of change tells only once it is this old: two changes within one tick of a file system's clock have the same, and the
/// slowest such clock ticks every two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Recordless {
    places: Mutex<Vec<Known>>,
    /// So that nobody can choose files that take each other's places.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    identity: Identity,
    changed: Time,
}

/// No object has this identity.
const NOBODY: Known = Known {
    identity: Identity { device: u64::MAX, inode: u64::MAX, birth: 0 },
    changed: Time { seconds: 0, nanos: 0 },
};

impl Recordless {
    /// Whether this object is known to have no record.
    pub(super) fn knows(&self, real: &Attributes) -> bool {
        let known = known(real);
        self.lock().get(self.place(&known)).is_some_and(|there| *there == known)
    }

    /// At `now` there was none, of an object that had these attributes before it was asked.
    pub(super) fn note(&self, real: &Attributes, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let settled =
            u64::try_from(real.changed.seconds).is_ok_and(|seconds| Duration::from_secs(seconds) + SETTLED < now);
        if !settled {
            return;
        }
        let known = known(real);
        let place = self.place(&known);
        let mut places = self.lock();
        places.resize(PLACES, NOBODY);
        places[place] = known;
    }

    fn place(&self, known: &Known) -> usize {
        // The remainder is less than PLACES.
        (self.hasher.hash_one(known.identity) % PLACES as u64) as usize
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Known>> {
        // Each place is whole at any time.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(real: &Attributes) -> Known {
    Known { identity: real.identity, changed: real.changed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::fs::host::Kind;

    fn object(inode: u64, changed: i64) -> Attributes {
        let changed = Time { seconds: changed, nanos: 5 };
        Attributes {
            identity: Identity { device: 1, inode, birth: 7 },
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
            device: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            accessed: changed,
            modified: changed,
            changed,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_has_not_changed_since_it_had_none_has_none() {
        let recordless = Recordless::default();
        assert!(!recordless.knows(&object(1, 100)));
        recordless.note(&object(1, 100), at(1000));
        assert!(recordless.knows(&object(1, 100)));
        assert!(!recordless.knows(&object(1, 101)), "it has changed");
        assert!(!recordless.knows(&object(2, 100)), "another one");
        let later = Attributes { changed: Time { seconds: 100, nanos: 6 }, ..object(1, 100) };
        assert!(!recordless.knows(&later), "it has changed");
    }

    #[test]
    fn a_time_of_change_that_may_come_again_says_nothing() {
        let recordless = Recordless::default();
        for (changed, now) in [(1000, 1000), (1000, 1003), (1001, 1000), (-5, 1000), (i64::MAX, 1000), (1000, 0)] {
            recordless.note(&object(1, changed), at(now));
            assert!(!recordless.knows(&object(1, changed)), "{changed} at {now}");
        }
        recordless.note(&object(1, 1000), at(1004));
        assert!(recordless.knows(&object(1, 1000)));
    }

    #[test]
    fn f10_many_objects_take_no_more_than_their_places() {
        let recordless = Recordless::default();
        for inode in 0..3 * PLACES as u64 {
            recordless.note(&object(inode, 100), at(1000));
            assert!(recordless.knows(&object(inode, 100)));
        }
        assert_eq!(recordless.lock().len(), PLACES);
        assert!(size_of::<Known>() <= 40);
    }
}
