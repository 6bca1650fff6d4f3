//! A split virtqueue as devices see it: pop a checked [`Chain`], push it back used, publish once per round. The only file
//! that names the virtqueue crate. Both transports build these; every device consumes them.

use std::sync::Arc;

use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory as _};

use super::device::Interrupt;
use crate::kick::Kick;
use crate::memory::GuestMemory;

/// The driver broke the rules of virtio 1.2 §2.7; the queue is not used any further.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Size, alignment or placement of the rings is not allowed.
    #[error("The driver set up queue {0} wrongly (size, alignment or address of its rings)")]
    Setup(u16),
    /// The available index ran further ahead than the queue is long.
    #[error("The driver's available index is out of range in queue {0}")]
    AvailIndex(u16),
    /// A descriptor chain loops, is too long, points outside RAM, or mixes directions wrongly.
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

/// One request of the driver: bytes to read, then room to write. All spans lie within RAM; their contents may still
/// change under our hands.
#[derive(Debug)]
pub struct Chain {
    /// Identifies the chain in the used ring.
    pub head: u16,
    /// Driver → device, in order.
    pub readable: Vec<Span>,
    /// Device → driver, in order.
    pub writable: Vec<Span>,
}

impl Chain {
    /// Bytes the driver offers to read.
    pub fn readable_len(&self) -> u64 {
        self.readable.iter().map(|span| u64::from(span.len)).sum()
    }

    /// Bytes the driver gives room for.
    pub fn writable_len(&self) -> u64 {
        self.writable.iter().map(|span| u64::from(span.len)).sum()
    }
}

/// A queue in service.
pub struct Virtqueue {
    index: u16,
    queue: Queue,
    memory: GuestMemory,
    kick: Arc<Kick>,
    interrupt: Arc<dyn Interrupt>,
}

impl Virtqueue {
    /// Checks the driver's layout and takes the queue into service.
    pub fn new(config: QueueConfig) -> Result<Self, QueueError> {
        let QueueConfig { index, max_size, layout, event_idx, next, memory, kick, interrupt } = config;
        let mut queue = Queue::new(max_size).map_err(|_| QueueError::Setup(index))?;
        if layout.size == 0 || layout.size > max_size || !layout.size.is_power_of_two() {
            return Err(QueueError::Setup(index));
        }
        queue.set_size(layout.size);
        queue.try_set_desc_table_address(GuestAddress(layout.desc)).map_err(|_| QueueError::Setup(index))?;
        queue.try_set_avail_ring_address(GuestAddress(layout.avail)).map_err(|_| QueueError::Setup(index))?;
        queue.try_set_used_ring_address(GuestAddress(layout.used)).map_err(|_| QueueError::Setup(index))?;
        queue.set_event_idx(event_idx);
        queue.set_next_avail(next);
        queue.set_next_used(next);
        queue.set_ready(true);
        if !queue.is_valid(&*memory) {
            return Err(QueueError::Setup(index));
        }
        Ok(Self { index, queue, memory, kick, interrupt })
    }

    /// The queue's number.
    pub fn index(&self) -> u16 {
        self.index
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

    /// Takes the next request, or `None` when the driver has offered no more.
    pub fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        let index = self.index;
        let malformed = |reason| QueueError::Chain { queue: index, reason };
        let limit = self.queue.size();
        let memory = Arc::clone(&self.memory);
        let mut iter = self.queue.iter(&*memory).map_err(|_| QueueError::AvailIndex(index))?;
        let Some(descriptors) = iter.next() else { return Ok(None) };
        let head = descriptors.head_index();
        let (mut readable, mut writable, mut total) = (Vec::new(), Vec::new(), 0u64);
        for (count, descriptor) in descriptors.enumerate() {
            if count >= usize::from(limit) {
                return Err(malformed("longer than the queue"));
            }
            let span = Span { addr: descriptor.addr(), len: descriptor.len() };
            if span.len == 0 {
                return Err(malformed("empty descriptor"));
            }
            if !memory.check_range(span.addr, span.len as usize) {
                return Err(malformed("address outside guest memory"));
            }
            total += u64::from(span.len);
            if total > u64::from(u32::MAX) {
                return Err(malformed("more than 4 GiB"));
            }
            if u32::from(descriptor.flags()) & VRING_DESC_F_WRITE != 0 {
                writable.push(span);
            } else if writable.is_empty() {
                readable.push(span);
            } else {
                return Err(malformed("readable descriptor after a writable one"));
            }
        }
        if readable.is_empty() && writable.is_empty() {
            return Err(malformed("no descriptors"));
        }
        Ok(Some(Chain { head, readable, writable }))
    }

    /// Gives chain `head` back with `written` bytes in its writable part. The driver is told by [`publish`](Self::publish).
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        self.queue.add_used(&*self.memory, head, written).map_err(|_| QueueError::UsedRing(self.index))
    }

    /// Interrupts the driver if it asked to be told of what was pushed since the last call.
    pub fn publish(&mut self) -> Result<(), QueueError> {
        if self.queue.needs_notification(&*self.memory).map_err(|_| QueueError::UsedRing(self.index))? {
            self.interrupt.queue(self.index);
        }
        Ok(())
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
