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

mod interrupts;
mod ram;
mod ring;

use std::sync::Arc;

pub(crate) use self::interrupts::*;
pub(crate) use self::ram::*;
pub(crate) use self::ring::*;
use super::device::{Activation, Interrupt, VirtioDevice};

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

    /// Whether EVENT_IDX was negotiated.
    pub fn event_idx(&self) -> bool {
        self.event_idx
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
