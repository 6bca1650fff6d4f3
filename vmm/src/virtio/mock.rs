//! A virtio driver's twin for tests: small guest RAM with a hole in it, split rings laid out by hand, and every way to
//! misuse them. Devices, transports and [`Virtqueue`] itself are tested against it; it shares no code with the queue
//! under test.
//!
//! ```ignore
//! let mut driver = MockDriver::for_device(&mut device);          // rings, RAM, interrupts, activation
//! let ring = &mut driver.rings[0];
//! let request = ring.add(&[b"header"], &[512, 1]);               // readable parts, then writable room
//! ring.kick();
//! let used = ring.wait_used(1);                                  // panics after DEADLINE, naming what is missing
//! assert_eq!(request.written(&used[0]), b"...");                 // what the device wrote, `used.len` bytes
//! ```
//!
//! Hostile drivers write raw descriptors (`set_descriptor`), ring entries (`offer`, `set_avail_index`) and indirect tables
//! (`indirect_table`) themselves. Rings, memory and interrupts are independent owned values: move them to other threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use vm_memory::{Bytes, GuestAddress};

use super::device::{Activation, Interrupt, VirtioDevice};
use super::queue::{QueueConfig, QueueError, QueueLayout, Virtqueue};
use crate::kick::Kick;
use crate::memory::{self, GuestMemory};

/// First RAM range: `0..LOW_END`.
pub(crate) const LOW_END: u64 = 16 << 20;
/// Second RAM range: `HIGH_BASE..HIGH_END`; between the two there is nothing.
pub(crate) const HIGH_BASE: u64 = 32 << 20;
/// One past the last byte of RAM.
pub(crate) const HIGH_END: u64 = HIGH_BASE + (1 << 20);
/// Where `alloc` hands out buffers; below are the rings.
const DATA_BASE: u64 = 8 << 20;
/// Distance between the rings of two queues; enough for 1024 entries.
const RING_STRIDE: u64 = 0x8000;
/// How long a test waits for a device before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

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

/// Records what the device told the driver.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    seen: Mutex<Seen>,
    thread: Condvar,
    task: Notify,
}

/// Counts of interrupts so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Used-buffer interrupts, by queue number.
    pub queues: [u32; 8],
    /// Configuration changes.
    pub config: u32,
    /// Times the device declared itself broken.
    pub needs_reset: u32,
}

impl Interrupts {
    /// Everything so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Blocks until `reached` holds of the counts; panics after [`DEADLINE`] naming `what`.
    pub fn wait_until(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let mut seen = self.lock();
        let deadline = Instant::now() + DEADLINE;
        while !reached(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; interrupts so far: {seen:?}");
            seen = self.thread.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// As [`wait_until`](Self::wait_until), in a task.
    pub async fn until(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.task.notified();
                if reached(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(waited.is_ok(), "waited in vain for {what}; interrupts so far: {:?}", self.seen());
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.thread.notify_all();
        self.task.notify_waiters();
        self.task.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

impl Interrupt for Interrupts {
    fn queue(&self, index: u16) {
        self.note(|seen| seen.queues[usize::from(index)] += 1);
    }

    fn config(&self) {
        self.note(|seen| seen.config += 1);
    }

    fn needs_reset(&self) {
        self.note(|seen| seen.needs_reset += 1);
    }
}

/// Guest RAM and a bump allocator for buffers in it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ram {
    /// The memory itself.
    pub memory: GuestMemory,
    next: Arc<AtomicU64>,
}

impl Ram {
    /// Fresh RAM: two ranges with a hole between them.
    fn new() -> Self {
        Self::over(memory::anonymous(&[(0, LOW_END), (HIGH_BASE, HIGH_END - HIGH_BASE)]).unwrap())
    }

    /// RAM that the caller made, such as a file that another process maps too; it must reach to [`LOW_END`].
    pub fn over(memory: GuestMemory) -> Self {
        Self { memory, next: Arc::new(AtomicU64::new(DATA_BASE)) }
    }

    /// Reserves `len` bytes at a multiple of 16. Starts again from the front when RAM is used up, so a test may only
    /// have some 7 MiB of buffers in flight.
    pub fn alloc(&self, len: u32) -> u64 {
        let step = (u64::from(len) + 15) & !15;
        assert!(step <= LOW_END - DATA_BASE, "{len} bytes are more than the mock's RAM");
        let base = self.next.load(Ordering::Relaxed);
        let base = if base + step > LOW_END { DATA_BASE } else { base };
        self.next.store(base + step, Ordering::Relaxed);
        base
    }

    /// Copies `data` into fresh RAM and says where.
    pub fn place(&self, data: &[u8]) -> u64 {
        let addr = self.alloc(u32::try_from(data.len()).unwrap());
        self.write(addr, data);
        addr
    }

    /// Writes bytes at a guest address.
    pub fn write(&self, addr: u64, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(addr)).unwrap();
    }

    /// Reads `len` bytes at a guest address.
    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.read_slice(&mut data, GuestAddress(addr)).unwrap();
        data
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
    /// Guest address and length of each readable part.
    pub readable: Vec<(u64, u32)>,
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
    fn new(index: u16, size: u16, event_idx: bool, ram: Ram, interrupts: Arc<Interrupts>) -> Self {
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
        (Request { head: 0, readable, writable, ram: self.ram.clone() }, parts)
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

/// RAM, rings and interrupts of one device.
pub(crate) struct MockDriver {
    /// Guest RAM.
    pub ram: Ram,
    /// One per queue, in order.
    pub rings: Vec<Ring>,
    /// What the device told us.
    pub interrupts: Arc<Interrupts>,
    event_idx: bool,
}

impl MockDriver {
    /// Rings of the given sizes (powers of two, at most 1024) without EVENT_IDX.
    pub fn new(sizes: &[u16]) -> Self {
        Self::with_event_idx(sizes, false)
    }

    /// Rings of the given sizes, EVENT_IDX negotiated or not.
    pub fn with_event_idx(sizes: &[u16], event_idx: bool) -> Self {
        Self::over(Ram::new(), sizes, event_idx)
    }

    /// As [`with_event_idx`](Self::with_event_idx), in RAM of the caller's.
    pub fn over(ram: Ram, sizes: &[u16], event_idx: bool) -> Self {
        let interrupts = Arc::new(Interrupts::default());
        let ring = |(n, &size): (usize, &u16)| {
            Ring::new(u16::try_from(n).unwrap(), size, event_idx, ram.clone(), Arc::clone(&interrupts))
        };
        let rings = sizes.iter().enumerate().map(ring).collect();
        Self { ram, rings, interrupts, event_idx }
    }

    /// Rings as large as the device declares, EVENT_IDX on, all its features accepted, and the device activated.
    pub fn for_device(device: &mut dyn VirtioDevice) -> Self {
        let driver = Self::with_event_idx(device.queue_sizes(), true);
        let features = device.features();
        driver.activate(device, features);
        driver
    }

    /// Sets DRIVER_OK once more after a reset of the device: empty rings, the same doorbells.
    pub fn activate_again(&mut self, device: &mut dyn VirtioDevice) {
        self.rings.iter_mut().for_each(Ring::clear);
        let features = device.features();
        self.activate(device, features);
    }

    /// Sets DRIVER_OK: hands `device` its side of the rings.
    pub fn activate(&self, device: &mut dyn VirtioDevice, features: u64) {
        let activation = Activation {
            memory: Arc::clone(&self.ram.memory),
            queues: self.rings.iter().map(Ring::virtqueue).collect(),
            features: features | u64::from(self.event_idx) << 29,
            interrupt: Arc::clone(&self.interrupts) as Arc<dyn Interrupt>,
        };
        device.activate(activation).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_round_directly_and_through_a_table() {
        for event_idx in [false, true] {
            let mut driver = MockDriver::with_event_idx(&[8], event_idx);
            let ring = &mut driver.rings[0];
            let mut queue = ring.virtqueue();
            for round in 0..20 {
                let request = if round % 2 == 0 {
                    ring.add(&[b"ab", b"c"], &[4])
                } else {
                    ring.add_indirect(&[b"ab", b"c"], &[4])
                };
                let chain = queue.pop().unwrap().unwrap();
                assert_eq!((chain.head, chain.readable_len(), chain.writable_len()), (request.head, 3, 4));
                assert!(queue.pop().unwrap().is_none());
                queue.write(chain.writable[0].addr, b"xy").unwrap();
                queue.push(chain.head, 2).unwrap();
                queue.publish().unwrap();
                assert_eq!(request.written(&ring.wait_used(1)[0]), b"xy");
            }
            assert_eq!(driver.interrupts.seen().queues[0], 20);
        }
    }
}
