//! The folders of the host that the guest may see: entries of the file system's root, each with a name of its own and with its
//! own right to write. Folders come and go while the guest runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::host::Identity;
use super::name::Name;

/// Ids are never used twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// One shared folder.
pub struct Share<N> {
    id: u64,
    root: Arc<N>,
    identity: Identity,
    writable: bool,
    gone: AtomicBool,
}

impl<N> Share<N> {
    /// Tells it from every other one that there was.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The folder.
    pub fn root(&self) -> &Arc<N> {
        &self.root
    }

    /// Whether the guest may change anything in it.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether it is shared no more: whatever the guest still has of it is stale.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Which folder it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// All that is shared, by name.
pub struct Shares<N>(RwLock<BTreeMap<Vec<u8>, Arc<Share<N>>>>);

impl<N> Default for Shares<N> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<N> Shares<N> {
    /// Shares a held folder under a name that no other has; one that had it is gone.
    pub fn add(&self, name: Name, root: N, identity: Identity, writable: bool) {
        let share = Share {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            root: Arc::new(root),
            identity,
            writable,
            gone: AtomicBool::new(false),
        };
        let before = self.write().insert(name.bytes().to_vec(), Arc::new(share));
        before.inspect(|share| share.gone.store(true, Ordering::Release));
    }

    /// Shares it no more.
    pub fn remove(&self, name: Name) {
        self.write().remove(name.bytes()).inspect(|share| share.gone.store(true, Ordering::Release));
    }

    /// The one with this name.
    pub fn get(&self, name: Name) -> Option<Arc<Share<N>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name.bytes()).cloned()
    }

    /// Names, in order.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<Vec<u8>, Arc<Share<N>>>> {
        // A map has no broken state in between.
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
