//! Memory for TCP connections, whichever side began them: one account, out of which all that a connection may ever hold is taken
//! when it stands, and the sockets of connections that are over. Called by `tcp` and `inward`.

use super::stack::{Buffers, Stack};
use super::stock::Stock;
use crate::net::budget::{Budget, Share};

/// Bytes for all connections together.
const ALL: usize = 320 << 20;
/// Buffers by what they leave of [`ALL`]: the last ones are so small that as many connections as there may be find room.
const SIZES: [(Buffers, usize); 3] =
    [(Buffers(256 << 10), 224 << 20), (Buffers(32 << 10), 176 << 20), (Buffers(8 << 10), 0)];
/// What clients of published ports leave to connections of the guest, however many they are.
const FOR_THE_GUEST: usize = 96 << 20;

/// Who began a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The guest.
    Outwards,
    /// A client of a published port.
    Inwards,
}

/// See the head of this file. Cheap to clone; clones are the same account.
#[derive(Clone)]
pub struct Memory {
    account: Budget,
    sockets: Stock,
}

impl Memory {
    /// None of it taken.
    pub fn new() -> Self {
        Self { account: Budget::new(ALL), sockets: Stock::default() }
    }

    /// The largest buffers that leave enough for others; `None` if there are none.
    pub fn buffers(&self, begun: Begun) -> Option<(Buffers, Share)> {
        let reserve = match begun {
            Begun::Outwards => 0,
            Begun::Inwards => FOR_THE_GUEST,
        };
        SIZES
            .iter()
            .find_map(|&(size, floor)| Some((size, self.account.take_above(Stack::price(size), floor.max(reserve))?)))
    }

    /// Sockets of connections that are over.
    pub fn sockets(&self) -> &Stock {
        &self.sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(memory: &Memory, begun: Begun) -> (Vec<usize>, Vec<Share>) {
        std::iter::from_fn(|| memory.buffers(begun)).map(|(size, share)| (size.0, share)).unzip()
    }

    #[test]
    fn n9_all_connections_find_room_in_the_memory_for_all_and_no_more_than_that_is_taken() {
        let memory = Memory::new();
        let (sizes, _held) = all(&memory, Begun::Outwards);
        assert!(sizes.len() >= super::super::MOST, "{} connections", sizes.len());
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[99] == SIZES[0].0.0, "the first hundred have large buffers");
    }

    #[test]
    fn h11_clients_of_published_ports_leave_memory_to_the_guest_and_are_counted_with_it() {
        let memory = Memory::new();
        let (clients, held) = all(&memory, Begun::Inwards);
        assert!(clients.len() >= crate::net::inward::MOST_STREAMS, "{} clients", clients.len());
        let (guests, held_too) = all(&memory, Begun::Outwards);
        assert!(guests.len() >= 1024, "{} connections of the guest", guests.len());
        drop((held, held_too));
        assert_eq!(memory.buffers(Begun::Inwards).map(|(size, _)| size), Some(SIZES[0].0), "what ends is given back");
    }
}
