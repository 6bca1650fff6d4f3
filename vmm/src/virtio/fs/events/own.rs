//! What the guest itself did a moment ago, so that the host's report of it is not taken for somebody else's doing. The host does
//! not say who did a thing, so time decides: what happens to the same entry within [`WINDOW`] of the guest's own act, and is such
//! as that act makes, counts as its own. Somebody on the host who does the like to that very entry in that very moment is seen by
//! the next one who looks, without an event; so that he is seen soon, what the guest is told of an entry that it changed
//! [`lately`](Own::lately) it may believe for a short time only.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::At;
use crate::virtio::fs::watching::Sight;

/// How long the host's report may take.
const WINDOW: Duration = Duration::from_millis(100);
/// How long what the guest did makes a difference: until nothing counts as its own any more, with as much to spare.
pub const LATELY: Duration = Duration::from_millis(200);
/// Acts remembered before old ones are looked for.
const MANY: usize = 4096;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Own(Mutex<Acts>);

/// When each was done last.
#[derive(Debug, Default)]
struct Acts {
    entries: HashMap<At, Instant>,
    /// Of these, entries whose first content and attributes are the guest's as well.
    made: HashMap<At, Instant>,
    /// Folders of these entries.
    folders: HashMap<u64, Instant>,
    contents: HashMap<u64, Instant>,
    attributes: HashMap<u64, Instant>,
}

impl Own {
    /// The guest removed or renamed this entry.
    pub fn entry(&self, folder: u64, name: &[u8]) {
        let mut acts = self.lock();
        note(&mut acts.entries, At { folder, name: name.to_vec() });
        note(&mut acts.folders, folder);
    }

    /// The guest made this entry.
    pub fn made(&self, folder: u64, name: &[u8]) {
        self.entry(folder, name);
        note(&mut self.lock().made, At { folder, name: name.to_vec() });
    }

    /// The guest changed a node's content.
    pub fn content(&self, node: u64) {
        note(&mut self.lock().contents, node);
    }

    /// The guest changed a node's attributes.
    pub fn attributes(&self, node: u64) {
        note(&mut self.lock().attributes, node);
    }

    /// Whether such a report of this entry is of what the guest did to it by name just now.
    pub fn is_entry(&self, at: &At, sight: Sight) -> bool {
        let acts = self.lock();
        match sight {
            Sight::Made | Sight::Removed | Sight::MovedFrom(_) | Sight::MovedTo(_) => is_now(&acts.entries, at),
            Sight::Content | Sight::Attributes => is_now(&acts.made, at),
        }
    }

    /// Whether such a report is of what the guest did to this node just now.
    pub fn is_node(&self, node: u64, sight: Sight) -> bool {
        let acts = self.lock();
        match sight {
            Sight::Content => is_now(&acts.contents, &node),
            Sight::Attributes => is_now(&acts.attributes, &node),
            Sight::Made | Sight::Removed | Sight::MovedFrom(_) | Sight::MovedTo(_) => false,
        }
    }

    /// Whether the guest did anything to this entry in the time before `asked`, or has since.
    pub fn lately(&self, at: &At, asked: Instant) -> bool {
        self.lock().entries.get(at).is_some_and(|when| is_lately(*when, asked))
    }

    /// Whether the guest changed this node in the time before `asked`, or has since; a folder, also by its entries.
    pub fn lately_node(&self, node: u64, asked: Instant) -> bool {
        let acts = self.lock();
        let mut all = [&acts.contents, &acts.attributes, &acts.folders].into_iter().filter_map(|acts| acts.get(&node));
        all.any(|when| is_lately(*when, asked))
    }

    /// As if no time passed any more.
    #[cfg(test)]
    pub fn stand_still(&self) {
        let later = Duration::from_secs(3600);
        let Acts { entries, made, folders, contents, attributes } = &mut *self.lock();
        entries.values_mut().chain(made.values_mut()).for_each(|when| *when += later);
        folders
            .values_mut()
            .chain(contents.values_mut())
            .chain(attributes.values_mut())
            .for_each(|when| *when += later);
    }

    fn lock(&self) -> MutexGuard<'_, Acts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_now<K: Eq + Hash>(acts: &HashMap<K, Instant>, key: &K) -> bool {
    acts.get(key).is_some_and(|when| when.elapsed() < WINDOW)
}

fn is_lately(when: Instant, asked: Instant) -> bool {
    asked.saturating_duration_since(when) < LATELY
}

fn note<K: Eq + Hash>(acts: &mut HashMap<K, Instant>, key: K) {
    if acts.len() >= MANY {
        acts.retain(|_, when| when.elapsed() < LATELY);
    }
    acts.insert(key, Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: u64, name: &str) -> At {
        At { folder, name: name.into() }
    }

    #[test]
    fn only_what_was_done_just_now_to_the_very_same_is_own() {
        let own = Own::default();
        own.entry(1, b"a");
        own.content(7);
        own.stand_still();
        let now = Instant::now();
        assert!(own.is_entry(&at(1, "a"), Sight::Removed) && own.lately(&at(1, "a"), now));
        assert!(!own.is_entry(&at(2, "a"), Sight::Removed) && !own.lately(&at(2, "a"), now));
        assert!(!own.is_entry(&at(1, "b"), Sight::Removed));
        assert!(own.is_node(7, Sight::Content) && !own.is_node(8, Sight::Content));
        assert!(own.lately_node(7, now) && own.lately_node(1, now) && !own.lately_node(8, now));
        let later = now + Duration::from_secs(7200);
        assert!(!own.lately_node(7, later) && !own.lately_node(1, later) && !own.lately(&at(1, "a"), later));
    }

    #[test]
    fn what_the_guests_act_does_not_make_is_somebody_elses() {
        let own = Own::default();
        own.entry(1, b"renamed");
        own.made(1, b"made");
        own.content(7);
        own.attributes(8);
        own.stand_still();
        for sight in [Sight::Content, Sight::Attributes] {
            assert!(!own.is_entry(&at(1, "renamed"), sight), "{sight:?}");
            assert!(own.is_entry(&at(1, "made"), sight), "{sight:?}");
        }
        assert!(!own.is_node(7, Sight::Attributes) && !own.is_node(8, Sight::Content));
        assert!(own.is_node(8, Sight::Attributes));
        own.entry(1, b"made");
        own.stand_still();
        assert!(own.is_entry(&at(1, "made"), Sight::Content), "made, and renamed at once");
    }

    #[test]
    fn f10_many_acts_take_no_more_memory_than_those_of_a_moment() {
        let own = Own::default();
        let long_ago = Instant::now().checked_sub(2 * LATELY).expect("the host has been up longer");
        own.lock().contents.extend((0..MANY as u64).map(|node| (node, long_ago)));
        own.content(u64::MAX);
        assert_eq!(own.lock().contents.len(), 1);
    }
}
