//! A split virtqueue as devices see it: pop a checked [`Chain`], push it back used, publish once per round. The only file
//! that names the virtqueue crate. Both transports build these; every device consumes them.
//!
//! The crate keeps the ring indices and the notification arithmetic. Chains are walked here, because the crate's iterator
//! ends quietly where a driver broke the rules, and a device could not tell a cut-off chain from a whole one.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory as _};

use super::device::Interrupt;
use crate::dax::Region;
use crate::kick::Kick;
use crate::memory::GuestMemory;

/// The driver broke the rules of virtio 1.2 §2.7; the queue is not used any further.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Size, alignment or placement of the rings is not allowed.
    #[error("The driver set up queue {queue} wrongly: {reason}")]
    Setup {
        /// Queue index.
        queue: u16,
        /// Which rule was broken.
        reason: &'static str,
    },
    /// The available index ran further ahead than the queue is long.
    #[error("The driver's available index is out of range in queue {0}")]
    AvailIndex(u16),
    /// A descriptor chain loops, is too long, points outside RAM, mixes directions wrongly, or is offered twice.
    #[error("The driver offered a malformed descriptor chain in queue {queue}: {reason}")]
    Chain {
        /// Queue index.
        queue: u16,
        /// Which rule was broken.
        reason: &'static str,
    },
    /// The used ring could not be written.
    #[error("The used ring of queue {0} lies outside guest memory")]
    UsedRing(u16),
}

/// Where the driver put a queue; what a transport hands over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLayout {
    /// Number of entries the driver chose.
    pub size: u16,
    /// Guest address of the descriptor table.
    pub desc: u64,
    /// Guest address of the driver area (available ring).
    pub avail: u64,
    /// Guest address of the device area (used ring).
    pub used: u64,
}

impl QueueLayout {
    /// The three areas with their sizes (virtio 1.2 §2.7).
    fn areas(&self) -> [(u64, u64); 3] {
        let size = u64::from(self.size);
        [(self.desc, 16 * size), (self.avail, 6 + 2 * size), (self.used, 6 + 8 * size)]
    }

    /// Each area lies wholly in RAM and overlaps no other.
    fn check(&self, memory: &GuestMemory) -> Result<(), &'static str> {
        for (addr, len) in self.areas() {
            // The crate takes an available ring at 0 for one that was never set.
            if addr == 0 || !memory.check_range(GuestAddress(addr), len as usize) {
                return Err("a ring lies outside guest memory");
            }
        }
        let mut areas = self.areas();
        areas.sort_unstable();
        // In range, so no sum overflows.
        if areas.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) { Err("rings overlap") } else { Ok(()) }
    }
}

/// What a transport needs to say to put a queue into service.
pub struct QueueConfig {
    /// Queue number.
    pub index: u16,
    /// Largest size, as the device declared it.
    pub max_size: u16,
    /// Where the driver put the rings.
    pub layout: QueueLayout,
    /// `VIRTIO_F_EVENT_IDX` was negotiated.
    pub event_idx: bool,
    /// Ring position to go on from: 0 after reset; vhost-user may give another.
    pub next: u16,
    /// Guest RAM.
    pub memory: GuestMemory,
    /// What the driver's doorbell signals.
    pub kick: Arc<Kick>,
    /// How used buffers are announced.
    pub interrupt: Arc<dyn Interrupt>,
}

/// A range of guest memory that a chain lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Guest address.
    pub addr: GuestAddress,
    /// Bytes; never zero.
    pub len: u32,
}

/// One request of the driver: bytes to read, then room to write. All spans lie within RAM, unless [`in_window`](Self::in_window);
/// their contents may still change under our hands.
#[derive(Debug)]
pub struct Chain {
    /// Identifies the chain in the used ring.
    pub head: u16,
    /// Driver → device, in order.
    pub readable: Vec<Span>,
    /// Device → driver, in order.
    pub writable: Vec<Span>,
    /// Some spans lie in a window onto files instead; see [`Virtqueue::pop_from_anywhere`].
    pub in_window: bool,
}

impl Chain {
    /// Number of spans.
    fn parts(&self) -> usize {
        self.readable.len() + self.writable.len()
    }

    /// Takes in one descriptor's buffer, or says which rule it breaks.
    fn add(&mut self, descriptor: &Descriptor, memory: &GuestMemory, windows: &[Region]) -> Result<(), &'static str> {
        let span = Span { addr: descriptor.addr(), len: descriptor.len() };
        // Nothing in the specification wants these, no driver sends them, and every device is simpler without.
        if span.len == 0 {
            return Err("empty descriptor");
        }
        if !memory.check_range(span.addr, span.len as usize) {
            if !windows.iter().any(|window| window.holds(span.addr.0, span.len.into())) {
                return Err("address outside guest memory");
            }
            self.in_window = true;
        }
        match (descriptor.is_write_only(), self.writable.is_empty()) {
            (true, _) => self.writable.push(span),
            (false, true) => self.readable.push(span),
            (false, false) => return Err("readable descriptor after a writable one"),
        }
        Ok(())
    }

    /// Bytes the driver offers to read.
    pub fn readable_len(&self) -> u64 {
        self.readable.iter().map(|span| u64::from(span.len)).sum()
    }

    /// Bytes the driver gives room for.
    pub fn writable_len(&self) -> u64 {
        self.writable.iter().map(|span| u64::from(span.len)).sum()
    }
}

/// Where a chain's descriptors are read from.
struct Table {
    addr: u64,
    entries: u32,
    indirect: bool,
}

impl Table {
    /// Copies entry `index` out of guest memory.
    fn read(&self, index: u16, memory: &GuestMemory) -> Result<Descriptor, &'static str> {
        if u32::from(index) >= self.entries {
            return Err("next lies outside the descriptor table");
        }
        let addr = self.addr.checked_add(16 * u64::from(index)).ok_or("table outside guest memory")?;
        memory.read_obj(GuestAddress(addr)).map_err(|_| "table outside guest memory")
    }

    /// Goes on in the table that `descriptor` names. Its WRITE flag means nothing (virtio 1.2 §2.7.5.3.2).
    fn enter(&self, descriptor: &Descriptor) -> Result<Self, &'static str> {
        if self.indirect {
            return Err("indirect table within an indirect table");
        }
        if descriptor.has_next() {
            return Err("indirect descriptor with a next one");
        }
        if descriptor.len() == 0 || !descriptor.len().is_multiple_of(16) {
            return Err("indirect table of a size that is no multiple of 16");
        }
        Ok(Self { addr: descriptor.addr().0, entries: descriptor.len() / 16, indirect: true })
    }
}

/// A queue in service.
pub struct Virtqueue {
    index: u16,
    queue: Queue,
    layout: QueueLayout,
    /// By head: popped and not yet pushed.
    in_flight: Vec<bool>,
    /// How many were pushed since the last `publish`.
    pushed: u16,
    memory: GuestMemory,
    windows: Arc<[Region]>,
    kick: Arc<Kick>,
    interrupt: Arc<dyn Interrupt>,
}

impl Virtqueue {
    /// Checks the driver's layout and takes the queue into service.
    pub fn new(config: QueueConfig) -> Result<Self, QueueError> {
        let QueueConfig { index, max_size, layout, event_idx, next, memory, kick, interrupt } = config;
        let wrong = |reason| QueueError::Setup { queue: index, reason };
        let mut queue = Queue::new(max_size).map_err(|_| wrong("the device's own size is no power of two"))?;
        queue.try_set_size(layout.size).map_err(|_| wrong("its size is no power of two, or too large"))?;
        queue
            .try_set_desc_table_address(GuestAddress(layout.desc))
            .map_err(|_| wrong("descriptor table not aligned"))?;
        queue
            .try_set_avail_ring_address(GuestAddress(layout.avail))
            .map_err(|_| wrong("available ring not aligned"))?;
        queue.try_set_used_ring_address(GuestAddress(layout.used)).map_err(|_| wrong("used ring not aligned"))?;
        layout.check(&memory).map_err(wrong)?;
        queue.set_event_idx(event_idx);
        queue.set_next_avail(next);
        queue.set_next_used(next);
        queue.set_ready(true);
        let in_flight = vec![false; usize::from(layout.size)];
        Ok(Self { index, queue, layout, in_flight, pushed: 0, memory, windows: Arc::default(), kick, interrupt })
    }

    /// The queue's number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Number of entries; no more chains than this can be in flight.
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// Guest RAM, for reading and writing a chain's spans.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// What the driver's doorbell signals.
    pub fn kick(&self) -> &Arc<Kick> {
        &self.kick
    }

    /// Ring position of the next chain to pop; what vhost-user's GET_VRING_BASE asks for.
    pub fn next_avail(&self) -> u16 {
        self.queue.next_avail()
    }

    /// The next request, wherever its spans lie. Each ring entry and descriptor is read once.
    fn take(&mut self) -> Result<Option<Chain>, QueueError> {
        let queue = self.index;
        let mut heads = self.queue.iter(&*self.memory).map_err(|_| QueueError::AvailIndex(queue))?;
        let Some(head) = heads.next().map(|descriptors| descriptors.head_index()) else { return Ok(None) };
        let malformed = |reason| QueueError::Chain { queue, reason };
        match self.in_flight.get(usize::from(head)) {
            None => return Err(malformed("its head lies outside the descriptor table")),
            Some(true) => return Err(malformed("its head is still in flight")),
            Some(false) => {}
        }
        let chain = self.walk(head).map_err(malformed)?;
        self.in_flight[usize::from(head)] = true;
        Ok(Some(chain))
    }

    /// Follows the chain that begins at `head`, into an indirect table if it says so (virtio 1.2 §2.7.5).
    fn walk(&self, head: u16) -> Result<Chain, &'static str> {
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new(), in_window: false };
        let mut table = Table { addr: self.layout.desc, entries: u32::from(self.layout.size), indirect: false };
        let (mut next, mut total) = (head, 0u32);
        // A chain never has more parts than the queue has entries; one that has loops. One step more for the table.
        for _ in 0..=self.layout.size {
            let descriptor = table.read(next, &self.memory)?;
            if descriptor.refers_to_indirect_table() {
                table = table.enter(&descriptor)?;
                next = 0;
                continue;
            }
            if chain.parts() == usize::from(self.layout.size) {
                break;
            }
            chain.add(&descriptor, &self.memory, &self.windows)?;
            total = total.checked_add(descriptor.len()).ok_or("more than 4 GiB")?;
            if !descriptor.has_next() {
                return Ok(chain);
            }
            next = descriptor.next();
        }
        Err("it loops, or is longer than the queue")
    }

    /// Gives chain `head` back with `written` bytes in its writable part. The driver is told by [`publish`](Self::publish).
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        self.release(head);
        self.queue.add_used(&*self.memory, head, written).map_err(|_| QueueError::UsedRing(self.index))
    }

    /// Gives several chains back, each with the bytes written to it, so that the driver sees all of them or none.
    pub fn push_all(&mut self, done: &[(u16, u32)]) -> Result<(), QueueError> {
        let Some((&(head, written), before)) = done.split_last() else { return Ok(()) };
        // These go beyond the index that the driver sees; pushing the last one moves it over all of them.
        let mut next = self.queue.next_used();
        for &(head, written) in before {
            let slot = self.layout.used + 4 + 8 * u64::from(next % self.layout.size);
            self.write(GuestAddress(slot), &[u32::from(head).to_le_bytes(), written.to_le_bytes()].concat())?;
            self.release(head);
            next = next.wrapping_add(1);
        }
        self.queue.set_next_used(next);
        self.push(head, written)
    }

    fn release(&mut self, head: u16) {
        let popped = self.in_flight.get_mut(usize::from(head)).is_some_and(std::mem::take);
        debug_assert!(popped, "chain {head} was never popped, or pushed twice");
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Interrupts the driver if it asked to be told of what was pushed since the last call.
    pub fn publish(&mut self) -> Result<(), QueueError> {
        let pushed = std::mem::take(&mut self.pushed);
        if pushed == 0 {
            return Ok(());
        }
        // Our writes to the used ring come before we read what the driver wants to be told of.
        fence(Ordering::SeqCst);
        let due = if self.queue.event_idx_enabled() {
            // Whether the index that it waits for is among those just passed (virtio 1.2 §2.7.7.1).
            let beyond = self.queue.next_used().wrapping_sub(self.used_event()?).wrapping_sub(1);
            beyond < pushed
        } else {
            !self.driver_polls()?
        };
        if due {
            self.interrupt.queue(self.index);
        }
        Ok(())
    }

    /// The used index after which the driver wants an interrupt, with EVENT_IDX.
    fn used_event(&self) -> Result<u16, QueueError> {
        let at = self.layout.avail + 4 + 2 * u64::from(self.layout.size);
        let event: u16 =
            self.memory.load(GuestAddress(at), Ordering::Relaxed).map_err(|_| QueueError::AvailIndex(self.index))?;
        Ok(u16::from_le(event))
    }

    /// Whether the driver set NO_INTERRUPT, which only counts without EVENT_IDX (virtio 1.2 §2.7.7.2).
    fn driver_polls(&self) -> Result<bool, QueueError> {
        let flags: u16 = self
            .memory
            .load(GuestAddress(self.layout.avail), Ordering::Relaxed)
            .map_err(|_| QueueError::AvailIndex(self.index))?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT != 0)
    }

    /// Asks for doorbells; `true` means that requests came in meanwhile and must be popped before waiting.
    pub fn enable_doorbell(&mut self) -> Result<bool, QueueError> {
        self.queue.enable_notification(&*self.memory).map_err(|_| QueueError::AvailIndex(self.index))
    }

    /// Spares the driver doorbells while we are polling the queue anyway.
    pub fn disable_doorbell(&mut self) -> Result<(), QueueError> {
        self.queue.disable_notification(&*self.memory).map_err(|_| QueueError::UsedRing(self.index))
    }

    /// Copies `data` out of guest memory at a span's address.
    pub fn read(&self, addr: GuestAddress, data: &mut [u8]) -> Result<(), QueueError> {
        let queue = self.index;
        self.memory
            .read_slice(data, addr)
            .map_err(|_| QueueError::Chain { queue, reason: "address outside guest memory" })
    }

    /// Copies `data` into guest memory at a span's address.
    pub fn write(&self, addr: GuestAddress, data: &[u8]) -> Result<(), QueueError> {
        let queue = self.index;
        self.memory
            .write_slice(data, addr)
            .map_err(|_| QueueError::Chain { queue, reason: "address outside guest memory" })
    }
}

mod elsewhere;
#[cfg(test)]
mod tests;
