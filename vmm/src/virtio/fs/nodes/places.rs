//! Which nodes have, or had last, which name in which folder: events name what they are about so, and there may be hundreds of
//! thousands of nodes and as many events.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

/// Names are not kept a second time, only what they hash to, by a key that no guest knows; so who asks compares what he gets.
#[derive(Default)]
pub struct Places {
    hasher: RandomState,
    /// A place's hash with a node's id.
    all: BTreeSet<(u64, u64)>,
}

impl Places {
    /// The node is there now.
    pub fn add(&mut self, folder: u64, name: &[u8], id: u64) {
        self.all.insert((self.hash(folder, name), id));
    }

    /// It is there no more.
    pub fn remove(&mut self, folder: u64, name: &[u8], id: u64) {
        self.all.remove(&(self.hash(folder, name), id));
    }

    /// All nodes that are there, perhaps with others.
    pub fn at(&self, folder: u64, name: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
        let hash = self.hash(folder, name);
        self.all.range((hash, 0)..=(hash, u64::MAX)).map(|&(_, id)| id)
    }

    fn hash(&self, folder: u64, name: &[u8]) -> u64 {
        self.hasher.hash_one((folder, name))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len()
    }
}
