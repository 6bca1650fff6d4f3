//! What the guest itself did a moment ago, so that the host's report of it is not taken for somebody else's doing. The host does
//! not say who did a thing, so time decides: what happens to the same entry within [`WINDOW`] of the guest's own act counts as
//! its own. Somebody on the host who changes that very entry in that very moment is seen by the next one who looks, without an
//! event.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::At;

/// How long the host's report may take.
const WINDOW: Duration = Duration::from_millis(100);
/// Acts remembered before old ones are looked for.
const MANY: usize = 4096;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Own(Mutex<Acts>);

#[derive(Debug, Default)]
struct Acts {
    entries: HashMap<At, Instant>,
    nodes: HashMap<u64, Instant>,
}

impl Own {
    /// The guest made, removed or renamed this entry.
    pub fn entry(&self, folder: u64, name: &[u8]) {
        note(&mut self.lock().entries, At { folder, name: name.to_vec() });
    }

    /// The guest changed a node's content or attributes.
    pub fn node(&self, node: u64) {
        note(&mut self.lock().nodes, node);
    }

    /// Whether the guest did something to this entry just now.
    pub fn is_entry(&self, at: &At) -> bool {
        self.lock().entries.get(at).is_some_and(|when| when.elapsed() < WINDOW)
    }

    /// Whether the guest changed this node just now.
    pub fn is_node(&self, node: u64) -> bool {
        self.lock().nodes.get(&node).is_some_and(|when| when.elapsed() < WINDOW)
    }

    fn lock(&self) -> MutexGuard<'_, Acts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note<K: Eq + Hash>(acts: &mut HashMap<K, Instant>, key: K) {
    if acts.len() >= MANY {
        acts.retain(|_, when| when.elapsed() < WINDOW);
    }
    acts.insert(key, Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_done_just_now_to_the_very_same_is_own() {
        let own = Own::default();
        own.entry(1, b"a");
        own.node(7);
        assert!(own.is_entry(&At { folder: 1, name: b"a".to_vec() }));
        assert!(!own.is_entry(&At { folder: 2, name: b"a".to_vec() }));
        assert!(!own.is_entry(&At { folder: 1, name: b"b".to_vec() }));
        assert!(own.is_node(7) && !own.is_node(8));
    }

    #[test]
    fn f10_many_acts_take_no_more_memory_than_those_of_a_moment() {
        let own = Own::default();
        let long_ago = Instant::now().checked_sub(2 * WINDOW).expect("the host has been up longer");
        own.lock().nodes.extend((0..MANY as u64).map(|node| (node, long_ago)));
        own.node(u64::MAX);
        assert_eq!(own.lock().nodes.len(), 1);
    }
}
