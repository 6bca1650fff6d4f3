//! Who speaks with which container's port at the moment, and from which port of ours. A place is given back when its holder
//! drops it. Called by `inward`, once for streams and once for datagrams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ports from which the gateway speaks: none that a service has.
const FIRST: u16 = 1024;

/// The container's address, and the one that speaks with it.
type Ends = (SocketAddr, SocketAddr);

/// All places, each with what its packets are given to.
pub struct Places<T> {
    most: usize,
    /// Of `taken`, so that a guest whose ports nobody asks for pays for no lock.
    count: AtomicUsize,
    table: Mutex<Table<T>>,
}

struct Table<T> {
    taken: HashMap<Ends, T>,
    /// Ports are taken in turn, so that one is not used again before the container has forgotten it.
    next: u16,
}

/// One of them.
pub struct Place<T> {
    ends: Ends,
    places: Arc<Places<T>>,
}

impl<T> Places<T> {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        // Whoever wants to speak in our name has to guess the port.
        let next = getrandom::u32().map_or(FIRST, |random| FIRST + (random as u16) % (u16::MAX - FIRST));
        Self { most, count: AtomicUsize::new(0), table: Mutex::new(Table { taken: HashMap::new(), next }) }
    }

    /// Whether nobody speaks.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// How many more find room.
    pub fn left(&self) -> usize {
        self.most.saturating_sub(self.count.load(Ordering::Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        // No operation leaves it half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place between `container` and a port of `speaker`: `wished` if it is free, else the next one that is. `None` when
    /// there is none.
    pub fn take(
        self: &Arc<Self>,
        container: SocketAddr,
        speaker: IpAddr,
        wished: Option<u16>,
        holder: T,
    ) -> Option<Place<T>> {
        let mut table = self.lock();
        let table = &mut *table;
        if table.taken.len() >= self.most {
            return None;
        }
        let mut port = wished.filter(|&port| port != 0);
        // One more than there are places taken is enough tries to find a free one.
        for _ in 0..=table.taken.len() {
            let ends = (container, SocketAddr::new(speaker, port.take().unwrap_or_else(|| table.next_port())));
            if let Entry::Vacant(free) = table.taken.entry(ends) {
                free.insert(holder);
                self.count.store(table.taken.len(), Ordering::Release);
                return Some(Place { ends, places: Arc::clone(self) });
            }
        }
        None
    }

    /// Gives `item` to the holder of the place between `ends`; back to the caller if there is none.
    pub fn with<I>(&self, ends: Ends, item: I, give: impl FnOnce(&T, I)) -> Option<I> {
        match self.lock().taken.get(&ends) {
            Some(holder) => {
                give(holder, item);
                None
            }
            None => Some(item),
        }
    }
}

impl<T> Table<T> {
    fn next_port(&mut self) -> u16 {
        let port = self.next;
        self.next = port.checked_add(1).unwrap_or(FIRST);
        port
    }
}

impl<T> Place<T> {
    /// The address that speaks.
    pub fn speaker(&self) -> SocketAddr {
        self.ends.1
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let mut table = self.places.lock();
        table.taken.remove(&self.ends);
        self.places.count.store(table.taken.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clients_speak_from_one_port_to_one_container() {
        let places = Arc::new(Places::new(4));
        let container: SocketAddr = "172.17.0.2:80".parse().unwrap();
        let speaker: IpAddr = "10.0.0.7".parse().unwrap();
        let first = places.take(container, speaker, Some(5000), 1).unwrap();
        let second = places.take(container, speaker, Some(5000), 2).unwrap();
        let other = places.take("172.17.0.3:80".parse().unwrap(), speaker, Some(5000), 3).unwrap();
        assert_eq!((first.speaker().port(), other.speaker().port()), (5000, 5000));
        let after = |port: u16, count: u16| (port - FIRST + count) % (u16::MAX - FIRST + 1) + FIRST;
        let begun = second.speaker().port();
        let third = places.take(container, speaker, None, 4).unwrap();
        assert_eq!(third.speaker().port(), after(begun, 1));
        assert!(places.take(container, speaker, None, 5).is_none(), "no more than there is room for");
        drop(second);
        let again = places.take(container, speaker, None, 6).unwrap();
        assert_eq!(again.speaker().port(), after(begun, 2), "a port is not used again at once");
    }

    #[test]
    fn packets_find_their_place_and_no_other_until_it_is_given_back() {
        let places = Arc::new(Places::new(4));
        let container: SocketAddr = "172.17.0.2:80".parse().unwrap();
        assert!(places.is_empty());
        let place = places.take(container, "10.0.0.7".parse().unwrap(), Some(5000), 'a').unwrap();
        let mut got = Vec::new();
        let ends = (container, place.speaker());
        assert_eq!(places.with(ends, 1, |holder, item| got.push((*holder, item))), None);
        assert_eq!(places.with((ends.1, ends.0), 2, |holder, item| got.push((*holder, item))), Some(2));
        assert!(!places.is_empty());
        drop(place);
        assert_eq!(places.with(ends, 3, |holder, item| got.push((*holder, item))), Some(3));
        assert!(places.is_empty() && got == [('a', 1)]);
    }

    #[test]
    fn h11_the_ports_of_the_gateway_begin_anew_behind_the_last_one() {
        let mut table = Table::<()> { taken: HashMap::new(), next: u16::MAX };
        assert_eq!((table.next_port(), table.next_port()), (u16::MAX, FIRST));
    }
}
