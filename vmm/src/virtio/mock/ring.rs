//! The driver's side of one split virtqueue (virtio 1.2 §2.7), laid out by hand: well-behaved requests and every way to
//! misuse a ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::interrupts::{DEADLINE, Interrupts};
use super::ram::Ram;
use crate::kick::Kick;
use crate::virtio::device::Interrupt;
use crate::virtio::queue::{QueueConfig, QueueError, QueueLayout, Virtqueue};

/// Distance between the rings of two queues; enough for 1024 entries.
const RING_STRIDE: u64 = 0x8000;

/// Descriptor flag: goes on at `next`.
pub(crate) const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
pub(crate) const WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors.
pub(crate) const INDIRECT: u16 = 4;

/// A raw split descriptor (virtio 1.2 §2.7.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

impl Descriptor {
    /// One table entry.
    pub fn new(addr: u64, len: u32, flags: u16, next: u16) -> Self {
        Self { addr, len, flags, next }
    }

    fn bytes(self) -> [u8; 16] {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&self.addr.to_le_bytes());
        raw[8..12].copy_from_slice(&self.len.to_le_bytes());
        raw[12..14].copy_from_slice(&self.flags.to_le_bytes());
        raw[14..].copy_from_slice(&self.next.to_le_bytes());
        raw
    }
}

/// One entry of the used ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Head of the chain given back.
    pub head: u16,
    /// Bytes the device says it wrote.
    pub len: u32,
}

/// A chain that a well-behaved [`Ring::add`] offered.
#[derive(Clone)]
pub(crate) struct Request {
    /// Its head, as it comes back in [`Used`].
    pub head: u16,
    /// Guest address and length of each writable part.
    pub writable: Vec<(u64, u32)>,
    ram: Ram,
}

impl Request {
    /// The first `used.len` bytes of the writable parts; panics if `used` belongs to another request or overstates.
    pub fn written(&self, used: &Used) -> Vec<u8> {
        assert_eq!(self.head, used.head, "used entry of another request");
        let mut all = self.writable_bytes();
        assert!(used.len as usize <= all.len(), "device claims {} bytes, room was {}", used.len, all.len());
        all.truncate(used.len as usize);
        all
    }

    /// All bytes of the writable parts, whatever the device claims.
    pub fn writable_bytes(&self) -> Vec<u8> {
        self.writable.iter().flat_map(|&(addr, len)| self.ram.read(addr, len as usize)).collect()
    }
}

/// The driver's side of one split virtqueue.
pub(crate) struct Ring {
    /// Queue number.
    pub index: u16,
    /// Where it lies; a transport's registers get this.
    pub layout: QueueLayout,
    /// Guest RAM.
    pub ram: Ram,
    /// What [`kick`](Self::kick) signals.
    pub kick: Arc<Kick>,
    /// Where interrupts are recorded.
    pub interrupts: Arc<Interrupts>,
    event_idx: bool,
    free: Vec<u16>,
    chains: Vec<Vec<u16>>,
    avail_index: u16,
    used_index: u16,
    collected: Vec<Used>,
}

impl Ring {
    pub(super) fn new(index: u16, size: u16, event_idx: bool, ram: Ram, interrupts: Arc<Interrupts>) -> Self {
        assert!(size <= 1024, "the mock lays rings out for 1024 entries at most");
        let base = 0x1000 + u64::from(index) * RING_STRIDE;
        Self {
            index,
            layout: QueueLayout { size, desc: base, avail: base + 0x4000, used: base + 0x5000 },
            ram,
            kick: Arc::default(),
            interrupts,
            event_idx,
            free: (0..size).rev().collect(),
            chains: vec![Vec::new(); usize::from(size)],
            avail_index: 0,
            used_index: 0,
            collected: Vec::new(),
        }
    }

    /// Empties the ring as a driver does after it reset the device. Doorbell and interrupts stay what they were.
    pub fn clear(&mut self) {
        let QueueLayout { size, avail, used, .. } = self.layout;
        self.ram.write(avail, &vec![0; 6 + 2 * usize::from(size)]);
        self.ram.write(used, &vec![0; 6 + 8 * usize::from(size)]);
        self.free = (0..size).rev().collect();
        self.chains.fill(Vec::new());
        (self.avail_index, self.used_index) = (0, 0);
        self.collected.clear();
    }

    /// The device's side of this ring.
    pub fn virtqueue(&self) -> Virtqueue {
        self.try_virtqueue(self.layout).unwrap()
    }

    /// The device's side, laid out as the caller likes.
    pub fn try_virtqueue(&self, layout: QueueLayout) -> Result<Virtqueue, QueueError> {
        Virtqueue::new(QueueConfig {
            index: self.index,
            max_size: self.layout.size,
            layout,
            event_idx: self.event_idx,
            next: 0,
            memory: Arc::clone(&self.ram.memory),
            kick: Arc::clone(&self.kick),
            interrupt: Arc::clone(&self.interrupts) as Arc<dyn Interrupt>,
        })
    }

    /// Offers a well-formed chain: a copy of each part of `readable`, then zeroed room of each length in `writable`.
    pub fn add(&mut self, readable: &[&[u8]], writable: &[u32]) -> Request {
        let (request, parts) = self.prepare(readable, writable);
        let indices: Vec<u16> = parts.iter().map(|_| self.free.pop().expect("the mock's ring is full")).collect();
        for (n, mut part) in parts.into_iter().enumerate() {
            if let Some(&next) = indices.get(n + 1) {
                part.flags |= NEXT;
                part.next = next;
            }
            self.set_descriptor(indices[n], part);
        }
        let head = indices[0];
        self.chains[usize::from(head)] = indices;
        self.offer(head);
        Request { head, ..request }
    }

    /// As [`add`](Self::add), through an indirect table (virtio 1.2 §2.7.5.3).
    pub fn add_indirect(&mut self, readable: &[&[u8]], writable: &[u32]) -> Request {
        let (request, mut parts) = self.prepare(readable, writable);
        let last = parts.len() - 1;
        for (n, part) in parts[..last].iter_mut().enumerate() {
            part.flags |= NEXT;
            part.next = u16::try_from(n + 1).unwrap();
        }
        let table = self.indirect_table(&parts);
        let head = self.free.pop().expect("the mock's ring is full");
        self.set_descriptor(head, Descriptor::new(table, parts.len() as u32 * 16, INDIRECT, 0));
        self.chains[usize::from(head)] = vec![head];
        self.offer(head);
        Request { head, ..request }
    }

    fn prepare(&self, readable: &[&[u8]], writable: &[u32]) -> (Request, Vec<Descriptor>) {
        let readable: Vec<_> = readable.iter().map(|data| (self.ram.place(data), data.len() as u32)).collect();
        let writable: Vec<_> = writable
            .iter()
            .map(|&len| {
                let addr = self.ram.alloc(len);
                self.ram.write(addr, &vec![0; len as usize]);
                (addr, len)
            })
            .collect();
        let parts = readable.iter().map(|&(addr, len)| Descriptor::new(addr, len, 0, 0));
        let parts = parts.chain(writable.iter().map(|&(addr, len)| Descriptor::new(addr, len, WRITE, 0))).collect();
        (Request { head: 0, writable, ram: self.ram.clone() }, parts)
    }

    /// Writes descriptor `index` of the table, sane or not.
    pub fn set_descriptor(&self, index: u16, descriptor: Descriptor) {
        self.ram.write(self.layout.desc + u64::from(index) * 16, &descriptor.bytes());
    }

    /// Writes a table of descriptors into RAM and says where.
    pub fn indirect_table(&self, descriptors: &[Descriptor]) -> u64 {
        self.ram.place(&descriptors.iter().flat_map(|descriptor| descriptor.bytes()).collect::<Vec<_>>())
    }

    /// Puts `head` into the next slot of the available ring and moves the index on.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.avail_index % self.layout.size);
        self.ram.write(self.layout.avail + 4 + slot * 2, &head.to_le_bytes());
        self.set_avail_index(self.avail_index.wrapping_add(1));
    }

    /// Sets the available index, sane or not.
    pub fn set_avail_index(&mut self, index: u16) {
        self.avail_index = index;
        self.ram.memory.store(index.to_le(), GuestAddress(self.layout.avail + 2), Ordering::Release).unwrap();
    }

    /// Sets the available ring's flags; bit 0 is NO_INTERRUPT.
    pub fn set_avail_flags(&self, flags: u16) {
        self.ram.write(self.layout.avail, &flags.to_le_bytes());
    }

    /// Asks for an interrupt once the used index passes `index` (with EVENT_IDX).
    pub fn set_used_event(&self, index: u16) {
        let addr = GuestAddress(self.layout.avail + 4 + u64::from(self.layout.size) * 2);
        self.ram.memory.store(index.to_le(), addr, Ordering::SeqCst).unwrap();
    }

    /// The used ring's flags; bit 0 is NO_NOTIFY.
    pub fn used_flags(&self) -> u16 {
        u16::from_le_bytes(self.ram.read(self.layout.used, 2).try_into().unwrap())
    }

    /// The index at which the device wants a doorbell (with EVENT_IDX).
    pub fn avail_event(&self) -> u16 {
        let addr = self.layout.used + 4 + u64::from(self.layout.size) * 8;
        u16::from_le_bytes(self.ram.read(addr, 2).try_into().unwrap())
    }

    /// Rings the doorbell.
    pub fn kick(&self) {
        self.kick.signal();
    }

    /// Used entries that came since the last call; their descriptors are free again.
    pub fn used(&mut self) -> Vec<Used> {
        self.collect();
        std::mem::take(&mut self.collected)
    }

    /// Blocks until `count` entries are used, and returns exactly these; panics after [`DEADLINE`].
    pub fn wait_used(&mut self, count: usize) -> Vec<Used> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let before = self.interrupts.seen();
            self.collect();
            if self.collected.len() >= count {
                return self.collected.drain(..count).collect();
            }
            assert_eq!(before.needs_reset, 0, "the device broke down while a used entry was awaited");
            assert!(Instant::now() < deadline, "{} of {count} used entries came", self.collected.len());
            self.interrupts.wait_until("used entries", |seen| *seen != before);
        }
    }

    /// As [`wait_used`](Self::wait_used), in a task.
    pub async fn next_used(&mut self, count: usize) -> Vec<Used> {
        loop {
            let before = self.interrupts.seen();
            self.collect();
            if self.collected.len() >= count {
                return self.collected.drain(..count).collect();
            }
            assert_eq!(before.needs_reset, 0, "the device broke down while a used entry was awaited");
            self.interrupts.until("used entries", |seen| *seen != before).await;
        }
    }

    fn collect(&mut self) {
        loop {
            let index: u16 = self.ram.memory.load(GuestAddress(self.layout.used + 2), Ordering::Acquire).unwrap();
            if u16::from_le(index) == self.used_index {
                return;
            }
            let slot = self.layout.used + 4 + u64::from(self.used_index % self.layout.size) * 8;
            let raw = self.ram.read(slot, 8);
            let head = u32::from_le_bytes(raw[..4].try_into().unwrap());
            let len = u32::from_le_bytes(raw[4..].try_into().unwrap());
            let head = u16::try_from(head).expect("heads are descriptor indices");
            self.free.append(&mut self.chains[usize::from(head)]);
            self.used_index = self.used_index.wrapping_add(1);
            self.set_used_event(self.used_index);
            self.collected.push(Used { head, len });
        }
    }
}
