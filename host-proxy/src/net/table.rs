//! Who gives way when a table is full: the rule by which containers share connections, pairs, pings, questions and incomplete
//! datagrams. A container is known by its source address. Pure; called by everybody who keeps a table of the guest's flows.
//!
//! A newcomer that finds a table full
//! - takes the place of a flow of the address that has most, if that has more than the newcomer's own would have then;
//! - else, if every address has one flow only, takes the place of the idlest of all;
//! - else takes the place of one of its own that has been idle for the table's patience;
//! - else is refused, and will try again.
//!
//! Of an address's flows the one goes that nothing was heard of for longest. So one container can use a table up only as long
//! as nobody else wants a place in it, and one that has many idle flows loses no busy one.
//!
//! The second rule is for addresses that are forged: a container that may send raw packets (Docker's default) can speak for
//! others of its own network. A table of half-open connections then drops the oldest, as any other such table does.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use tokio::time::{Duration, Instant};

/// Between two searches for an idle flow.
const PAUSE: Duration = Duration::from_millis(250);

/// A flow's name, which says whose it is.
pub trait Named: Copy + Eq + Hash {
    /// The container's address.
    fn source(&self) -> IpAddr;
}

/// A connection or a pair: the guest's end and the far one.
impl Named for (SocketAddr, SocketAddr) {
    fn source(&self) -> IpAddr {
        self.0.ip()
    }
}

/// A table with a bound.
pub struct Table<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// How many of the entries each address has.
    tallies: HashMap<IpAddr, usize>,
    most: usize,
    patience: Duration,
    /// Before this nobody looks for an idle flow again: a flood costs no search for each of its packets.
    look_again: Option<Instant>,
}

struct Entry<V> {
    value: V,
    heard: Instant,
}

/// What became of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<K, V> {
    /// It has a place.
    Room,
    /// It has the place of this one.
    Instead(K, V),
    /// There is no place; here it is back.
    Refused(V),
}

impl<K: Named, V> Table<K, V> {
    /// For at most `most` flows, of which one that is idle for `patience` may be replaced by its own address.
    pub fn new(most: usize, patience: Duration) -> Self {
        Self { entries: HashMap::new(), tallies: HashMap::new(), most, patience, look_again: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The flow of this name, which is heard of now.
    pub fn hear(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.heard = Instant::now();
        Some(&mut entry.value)
    }

    /// The flow of this name.
    pub fn get(&self, key: &K) -> Option<&V> {
        Some(&self.entries.get(key)?.value)
    }

    /// Takes a flow out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        let source = key.source();
        if let Some(count) = self.tallies.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.tallies.remove(&source);
            }
        }
        Some(entry.value)
    }

    /// Takes out all for which `over` says so.
    pub fn remove_all(&mut self, mut over: impl FnMut(&V) -> bool) {
        let gone: Vec<K> = self.entries.iter().filter(|(_, entry)| over(&entry.value)).map(|(key, _)| *key).collect();
        gone.iter().for_each(|key| drop(self.remove(key)));
    }

    /// Whether a flow of this name would get a place now.
    pub fn would_admit(&mut self, key: &K) -> bool {
        self.entries.len() < self.most || self.victim(key.source(), Instant::now()).is_some()
    }

    /// Puts a flow in that is not there yet.
    pub fn admit(&mut self, key: K, value: V) -> Admission<K, V> {
        let heard = Instant::now();
        let victim = if self.entries.len() < self.most { None } else { self.victim(key.source(), heard) };
        if victim.is_none() && self.entries.len() >= self.most {
            return Admission::Refused(value);
        }
        let gone = victim.and_then(|victim| Some((victim, self.remove(&victim)?)));
        self.entries.insert(key, Entry { value, heard });
        *self.tallies.entry(key.source()).or_default() += 1;
        gone.map_or(Admission::Room, |(key, value)| Admission::Instead(key, value))
    }

    /// Who gives way to a newcomer from `source`.
    fn victim(&mut self, source: IpAddr, now: Instant) -> Option<K> {
        let own = self.tallies.get(&source).copied().unwrap_or(0);
        let (&heaviest, &most) = self.tallies.iter().max_by_key(|(_, count)| **count)?;
        if most > own + 1 {
            return self.idlest(|address| address == heaviest).map(|(key, _)| key);
        }
        if most == 1 {
            return self.idlest(|_| true).map(|(key, _)| key);
        }
        if self.look_again.is_some_and(|again| now < again) {
            return None;
        }
        let own = self.idlest(|address| address == source);
        let idle = own.filter(|(_, heard)| now.duration_since(*heard) >= self.patience);
        self.look_again = if idle.is_none() { Some(now + PAUSE) } else { None };
        idle.map(|(key, _)| key)
    }

    fn idlest(&self, of: impl Fn(IpAddr) -> bool) -> Option<(K, Instant)> {
        let candidates = self.entries.iter().filter(|(key, _)| of(key.source()));
        candidates.min_by_key(|(_, entry)| entry.heard).map(|(key, entry)| (*key, entry.heard))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Named for (u8, u32) {
        fn source(&self) -> IpAddr {
            IpAddr::from([172, 17, 0, self.0])
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    fn full(owners: &[(u8, u32)]) -> Table<(u8, u32), ()> {
        let mut table = Table::new(owners.len(), PATIENCE);
        for owner in owners {
            assert_eq!(table.admit(*owner, ()), Admission::Room);
        }
        table
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_gives_way_with_its_idlest_and_nobody_else_loses_anything() {
        let mut table = full(&[(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        [(1, 0), (1, 3)].iter().for_each(|key| *table.hear(key).unwrap());
        assert!(matches!(table.admit((3, 0), ()), Admission::Instead((1, 1 | 2), ())));
        // Three, two, one: another of the third address makes two, two, two.
        assert!(matches!(table.admit((3, 1), ()), Admission::Instead((1, 1 | 2), ())));
        for source in 1..=3 {
            assert_eq!(table.admit((source, 9), ()), Admission::Refused(()), "{source}");
        }
        assert!(table.get(&(1, 0)).is_some() && table.len() == 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_itself_waits_until_one_of_its_own_is_idle() {
        let mut table = full(&[(1, 0), (1, 1), (2, 0)]);
        assert_eq!(table.admit((1, 2), ()), Admission::Refused(()));
        tokio::time::advance(PATIENCE / 2).await;
        table.hear(&(1, 0)).unwrap();
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(table.admit((1, 2), ()), Admission::Instead((1, 1), ()));
        assert_eq!(table.admit((1, 3), ()), Admission::Refused(()));
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(table.admit((1, 3), ()), Admission::Instead((1, 0), ()));
        // The other address's flow is older, and stays.
        assert!(table.get(&(2, 0)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn where_every_address_is_forged_the_oldest_goes() {
        let mut table = full(&[(1, 0), (2, 0), (3, 0)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        table.hear(&(1, 0)).unwrap();
        table.hear(&(3, 0)).unwrap();
        assert_eq!(table.admit((4, 0), ()), Admission::Instead((2, 0), ()));
    }

    proptest! {
        #[test]
        fn tallies_are_right_and_the_bound_holds(
            steps in prop::collection::vec((0u8..5, 0u32..6, 0u8..4), 0..200), most in 1usize..8,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut table = Table::new(most, PATIENCE);
                for (source, index, what) in steps {
                    let key = (source, index);
                    match what {
                        0 => _ = table.remove(&key),
                        1 => tokio::time::advance(Duration::from_secs(40)).await,
                        _ if table.hear(&key).is_none() => _ = table.admit(key, ()),
                        _ => {}
                    }
                    assert!(table.len() <= most);
                    let mut counted: HashMap<IpAddr, usize> = HashMap::new();
                    table.entries.keys().for_each(|key| *counted.entry(key.source()).or_default() += 1);
                    assert_eq!(counted, table.tallies);
                }
            });
        }

        #[test]
        fn whoever_comes_last_gets_a_fair_part(first in 1usize..60, most in 2usize..40) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut table = Table::new(most, PATIENCE);
                for index in 0..first as u32 {
                    table.admit((1, index), ());
                }
                for index in 0..most as u32 {
                    table.admit((2, index), ());
                }
                let second = table.entries.keys().filter(|key| key.0 == 2).count();
                assert!(second >= most / 2, "{second} of {most}");
            });
        }
    }
}
