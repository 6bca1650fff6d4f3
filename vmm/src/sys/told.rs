//! Which identity an object is told by where its number on the host is no lasting name of it. FAT and its kind number an object by
//! where its entry stands in the folder's table: renamed, it has another number, and the next one to be made gets its old one.
//! What the guest itself did is kept in mind, so that an object is told as before, and never as one that was there before it.
//! Of the Windows backend; tested on all.

use std::collections::{HashMap, VecDeque};

use crate::virtio::fs::host::Identity;

/// Objects that are told otherwise than the host has them; beyond, the one longest so is told as it is, which is another one
/// to whoever knows it: stale, until it is looked up again.
const MOST: usize = 16_384;
/// In `birth`, of one that the host did not say: no time that a system counts.
const FRESH: u64 = 1 << 63;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Told {
    instead: HashMap<Identity, Identity>,
    /// Its keys, oldest first.
    order: VecDeque<Identity>,
    given: u64,
}

impl Told {
    /// What the object is told as that the host has as `real` now.
    pub(super) fn of(&self, real: Identity) -> Identity {
        self.instead.get(&real).copied().unwrap_or(real)
    }

    /// The guest renamed what the host had as `from` and now has as `to`.
    pub(super) fn moved(&mut self, from: Identity, to: Identity) {
        if from == to {
            return;
        }
        let told = self.of(from);
        self.removed(from);
        self.tell(to, told);
    }

    /// The guest removed what the host had as `real`: whatever is had so from now on is another one.
    pub(super) fn removed(&mut self, real: Identity) {
        self.given += 1;
        let fresh = Identity { birth: FRESH | self.given, ..real };
        self.tell(real, fresh);
    }

    fn tell(&mut self, real: Identity, told: Identity) {
        if self.instead.insert(real, told).is_some() {
            return;
        }
        self.order.push_back(real);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.instead.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn real(inode: u64) -> Identity {
        Identity { device: 1, inode, birth: 0 }
    }

    #[test]
    fn what_is_renamed_is_told_as_before_and_what_gets_its_number_is_not() {
        let mut told = Told::default();
        let first = told.of(real(1));
        told.moved(real(1), real(2));
        assert_eq!(told.of(real(2)), first);
        let second = told.of(real(1));
        assert_ne!(second, first);
        // And back, which is where the second one is no more.
        told.removed(real(1));
        told.moved(real(2), real(1));
        assert_eq!(told.of(real(1)), first);
        assert!(![first, second].contains(&told.of(real(2))));
        let same = told.of(real(7));
        told.moved(real(7), real(7));
        assert_eq!(told.of(real(7)), same, "a file system that numbers objects for good");
    }

    #[test]
    fn what_is_made_after_a_removal_is_another_one_each_time() {
        let mut told = Told::default();
        let mut seen = vec![told.of(real(1))];
        for _ in 0..5 {
            told.removed(real(1));
            assert!(!seen.contains(&told.of(real(1))));
            seen.push(told.of(real(1)));
        }
    }

    #[test]
    fn a_guest_that_goes_on_removing_takes_no_more_memory() {
        let mut told = Told::default();
        for number in 0..3 * MOST as u64 {
            told.removed(real(number));
            told.removed(real(number % 7));
        }
        assert!(told.instead.len() <= MOST && told.order.len() == told.instead.len());
        let newest = real(3 * MOST as u64 - 1);
        assert_ne!(told.of(newest), newest);
    }

    /// Objects in numbered entries, as FAT has them.
    #[derive(Debug, Clone)]
    enum Step {
        Make(u64),
        Remove(u64),
        Move(u64, u64),
    }

    proptest! {
        #[test]
        fn no_two_objects_are_ever_told_alike_and_each_stays_as_it_was_told(
            steps in prop::collection::vec(prop_oneof![
                (0..6u64).prop_map(Step::Make),
                (0..6u64).prop_map(Step::Remove),
                (0..6u64, 0..6u64).prop_map(|(from, to)| Step::Move(from, to)),
            ], 1..60),
        ) {
            let (mut told, mut there, mut ever) = (Told::default(), HashMap::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Make(at) if !there.contains_key(&at) => {
                        let new = told.of(real(at));
                        prop_assert!(!ever.contains(&new));
                        ever.push(new);
                        there.insert(at, new);
                    }
                    Step::Remove(at) if there.remove(&at).is_some() => told.removed(real(at)),
                    Step::Move(from, to) if from != to && there.contains_key(&from) => {
                        if there.remove(&to).is_some() {
                            told.removed(real(to));
                        }
                        let moved = there.remove(&from).expect("just seen");
                        told.moved(real(from), real(to));
                        there.insert(to, moved);
                    }
                    Step::Make(_) | Step::Remove(_) | Step::Move(..) => {}
                }
                for (at, as_told) in &there {
                    prop_assert_eq!(told.of(real(*at)), *as_told);
                }
            }
        }
    }
}
