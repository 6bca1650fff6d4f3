//! Places for questions that are being answered, shared between containers by the rule of [`Table`]: names stay resolvable while
//! one container asks without end. Called by `mod`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Duration;

use crate::net::table::{Admission, Named, Table};

/// After this a question may be replaced by another of the same container: most are answered sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// The asker, and a number.
type Key = (IpAddr, u64);

impl Named for Key {
    fn source(&self) -> IpAddr {
        self.0
    }
}

/// All places. Cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<Mutex<State>>);

struct State {
    /// A sender that is dropped tells its question that the place is given away.
    table: Table<Key, oneshot::Sender<()>>,
    next: u64,
}

/// One place; free again when this is dropped.
pub struct Place {
    places: Places,
    key: Key,
    kept: oneshot::Receiver<()>,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Places").field(&self.lock().table.len()).finish()
    }
}

impl Places {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State { table: Table::new(most, PATIENCE), next: 0 })))
    }

    /// A place for a question of `asker`; `None` if it has to wait.
    pub fn take(&self, asker: IpAddr) -> Option<Place> {
        let mut state = self.lock();
        let key = (asker, state.next);
        state.next += 1;
        let (keep, kept) = oneshot::channel();
        match state.table.admit(key, keep) {
            Admission::Refused(_) => None,
            Admission::Room | Admission::Instead(..) => Some(Place { places: self.clone(), key, kept }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The table is whole between two calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What `work` gives; `None` if the place is given away before.
    pub async fn during<T>(mut self, work: impl Future<Output = Option<T>>) -> Option<T> {
        tokio::select! {
            done = work => done,
            _ = &mut self.kept => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().table.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn n8_a_container_that_asks_without_end_gives_places_to_others() {
        let places = Places::new(4);
        let greedy: Vec<_> = (0..4).map(|_| places.take([172, 17, 0, 2].into()).unwrap()).collect();
        assert!(places.take([172, 17, 0, 2].into()).is_none());
        let other = places.take([172, 17, 0, 3].into()).unwrap();
        assert_eq!(other.during(async { Some(7) }).await, Some(7));
        // One of the greedy ones has lost its place, and only one.
        let mut lost = 0;
        for place in greedy {
            let never = std::future::pending::<Option<()>>();
            let cut = tokio::time::timeout(Duration::from_millis(1), place.during(never));
            lost += usize::from(cut.await == Ok(None));
        }
        assert_eq!(lost, 1);
        assert_eq!(places.lock().table.len(), 0);
    }
}
