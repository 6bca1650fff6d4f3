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
//!
//! Nothing here looks at all flows, so a flood costs the others little, even one from addresses that are all different: addresses are
//! kept in the order of how many flows they have, and flows in the order of when they were heard of. To be heard of
//! does not move a flow, which would be paid for with every packet; a search moves those on its way that are in a
//! wrong place. So each packet makes one step of a search necessary at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use tokio::time::{Duration, Instant};

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
    /// The same, the address with most at the end.
    ranks: BTreeSet<(usize, IpAddr)>,
    /// Each flow twice, among those of its address and among all, by [`Entry::place`].
    ages: BTreeMap<(Option<IpAddr>, u64), K>,
    /// How often any flow was heard of.
    turns: u64,
    most: usize,
    patience: Duration,
}

struct Entry<V> {
    value: V,
    heard: Instant,
    /// Which turn that was.
    turn: u64,
    /// The turn by which it is found in `ages`: this one, or an earlier one.
    place: u64,
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
        let (entries, tallies) = (HashMap::new(), HashMap::new());
        Self { entries, tallies, ranks: BTreeSet::new(), ages: BTreeMap::new(), turns: 0, most, patience }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The flow of this name, which is heard of now.
    pub fn hear(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        self.turns += 1;
        (entry.heard, entry.turn) = (Instant::now(), self.turns);
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
        self.ages.remove(&(Some(source), entry.place));
        self.ages.remove(&(None, entry.place));
        self.count(source, |count| count.saturating_sub(1));
        Some(entry.value)
    }

    /// Changes how many flows `source` has.
    fn count(&mut self, source: IpAddr, change: impl FnOnce(usize) -> usize) {
        let before = self.tallies.remove(&source).unwrap_or(0);
        self.ranks.remove(&(before, source));
        let after = change(before);
        if after > 0 {
            self.tallies.insert(source, after);
            self.ranks.insert((after, source));
        }
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

    /// Puts a flow in. One of this name that is there already is dropped, and is no newcomer's loss.
    pub fn admit(&mut self, key: K, value: V) -> Admission<K, V> {
        drop(self.remove(&key));
        let heard = Instant::now();
        let victim = if self.entries.len() < self.most { None } else { self.victim(key.source(), heard) };
        if victim.is_none() && self.entries.len() >= self.most {
            return Admission::Refused(value);
        }
        let gone = victim.and_then(|victim| Some((victim, self.remove(&victim)?)));
        self.turns += 1;
        let (source, turn) = (key.source(), self.turns);
        self.entries.insert(key, Entry { value, heard, turn, place: turn });
        self.ages.insert((Some(source), turn), key);
        self.ages.insert((None, turn), key);
        self.count(source, |count| count + 1);
        gone.map_or(Admission::Room, |(key, value)| Admission::Instead(key, value))
    }

    /// Who gives way to a newcomer from `source`.
    fn victim(&mut self, source: IpAddr, now: Instant) -> Option<K> {
        let own = self.tallies.get(&source).copied().unwrap_or(0);
        let &(most, heaviest) = self.ranks.last()?;
        if most > own + 1 {
            return self.idlest(Some(heaviest)).map(|(key, _)| key);
        }
        if most == 1 {
            return self.idlest(None).map(|(key, _)| key);
        }
        let own = self.idlest(Some(source));
        own.filter(|(_, heard)| now.duration_since(*heard) >= self.patience).map(|(key, _)| key)
    }

    /// Of an address's flows, or of all, the one that nothing was heard of for longest.
    fn idlest(&mut self, of: Option<IpAddr>) -> Option<(K, Instant)> {
        loop {
            let (&(_, place), &key) = self.ages.range((of, 0)..=(of, u64::MAX)).next()?;
            let entry = self.entries.get_mut(&key)?;
            if entry.turn == place {
                return Some((key, entry.heard));
            }
            let turn = entry.turn;
            entry.place = turn;
            for among in [Some(key.source()), None] {
                self.ages.remove(&(among, place));
                self.ages.insert((among, turn), key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    impl Named for (u8, u32) {
        fn source(&self) -> IpAddr {
            IpAddr::from([172, 17, 0, self.0])
        }
    }

    thread_local! {
        static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// The flow of an address that has no other, which counts how often somebody looks at one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct Forged(u32);

    impl Named for Forged {
        fn source(&self) -> IpAddr {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            IpAddr::from(self.0.to_be_bytes())
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

    #[tokio::test]
    async fn n9_a_flood_from_addresses_that_are_all_different_costs_a_few_steps_for_each_packet() {
        const MOST: u32 = 4000;
        let mut table = Table::new(MOST as usize, PATIENCE);
        (0..MOST).for_each(|from| assert_eq!(table.admit(Forged(from), ()), Admission::Room));
        LOOKED_AT.set(0);
        let mut packets = 0;
        for from in MOST..2 * MOST {
            assert!(table.would_admit(&Forged(from)));
            assert_eq!(table.admit(Forged(from), ()), Admission::Instead(Forged(from - MOST), ()));
            packets += 2;
        }
        // Those that stand are heard of now and then, and have to be looked at once each.
        for round in 1..4 {
            (round * MOST..(round + 1) * MOST).for_each(|from| _ = table.hear(&Forged(from)).unwrap_or(&mut ()));
            packets += MOST;
            for from in (round + 1) * MOST..(round + 2) * MOST {
                assert!(matches!(table.admit(Forged(from), ()), Admission::Instead(..)));
                packets += 1;
            }
        }
        assert!(LOOKED_AT.get() <= 6 * packets as usize, "{} for {packets} packets", LOOKED_AT.get());
    }

    #[tokio::test(start_paused = true)]
    async fn n9_a_flow_that_comes_again_is_counted_once_and_takes_no_other_ones_place() {
        let mut table = full(&[(1, 0), (1, 1), (2, 0)]);
        for _ in 0..10 {
            assert_eq!(table.admit((2, 0), ()), Admission::Room);
        }
        (0..=1).for_each(|index| assert!(table.remove(&(1, index)).is_some()));
        assert!(table.remove(&(2, 0)).is_some());
        assert!(table.tallies.is_empty() && table.ranks.is_empty() && table.ages.is_empty());
    }

    proptest! {
        #[test]
        fn tallies_are_right_and_the_bound_holds(
            steps in prop::collection::vec((0u8..5, 0u32..6, 0u8..6), 0..200), most in 1usize..8,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut table = Table::new(most, PATIENCE);
                for (source, index, what) in steps {
                    let key = (source, index);
                    match what {
                        0 => _ = table.remove(&key),
                        1 => tokio::time::advance(Duration::from_secs(40)).await,
                        2 => _ = table.hear(&key),
                        3 => {
                            let would = table.would_admit(&key) || table.get(&key).is_some();
                            assert_eq!(would, table.admit(key, ()) != Admission::Refused(()));
                        }
                        _ => _ = table.admit(key, ()),
                    }
                    assert!(table.len() <= most && table.ages.len() == 2 * table.len());
                    // Who is found is who was heard of first.
                    let first = table.entries.iter().min_by_key(|(_, entry)| entry.turn).map(|(key, _)| *key);
                    assert_eq!(first, table.idlest(None).map(|(key, _)| key));
                    let mut counted: HashMap<IpAddr, usize> = HashMap::new();
                    table.entries.keys().for_each(|key| *counted.entry(key.source()).or_default() += 1);
                    assert_eq!(counted, table.tallies);
                    let ranks: BTreeSet<_> = counted.into_iter().map(|(source, count)| (count, source)).collect();
                    assert_eq!(ranks, table.ranks);
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
