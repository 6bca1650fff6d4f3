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

/// All that is shared, by name; and what is not, wherever it lies.
pub struct Shares<N> {
    by_name: RwLock<BTreeMap<Vec<u8>, Arc<Share<N>>>>,
    /// Folders that the guest is not to find in any share. Few, and set before the guest runs.
    hidden: RwLock<Vec<Identity>>,
}

impl<N> Default for Shares<N> {
    fn default() -> Self {
        Self { by_name: RwLock::default(), hidden: RwLock::default() }
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

    /// Hides a folder.
    pub fn hide(&self, identity: Identity) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).push(identity);
    }

    /// Whether it is one that the guest is not to find.
    pub fn is_hidden(&self, identity: Identity) -> bool {
        self.hidden.read().unwrap_or_else(PoisonError::into_inner).contains(&identity)
    }

    /// The same of an entry in a list, of which less is known.
    pub fn hides(&self, device: u64, inode: u64) -> bool {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        hidden.iter().any(|hidden| hidden.device == device && hidden.inode == inode)
    }

    /// The one with this name.
    pub fn get(&self, name: Name) -> Option<Arc<Share<N>>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name.bytes()).cloned()
    }

    /// Names, in order.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<Vec<u8>, Arc<Share<N>>>> {
        // A map has no broken state in between.
        self.by_name.write().unwrap_or_else(PoisonError::into_inner)
    }
}
