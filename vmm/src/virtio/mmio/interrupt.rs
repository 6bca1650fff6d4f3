//! The interrupt side of the transport: status bits and the edge that tells of them. Apart from the register file and
//! without a lock, because device tasks raise interrupts while a vCPU holds the register file to reset that very device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::irq::IrqLine;
use crate::virtio::Interrupt;

/// InterruptStatus: used buffers.
const USED_BUFFER: u32 = 1;
/// InterruptStatus: configuration change, also told of NEEDS_RESET.
const CONFIG_CHANGE: u32 = 2;

/// What the device raises and the driver reads.
pub struct Interrupts {
    status: AtomicU32,
    broken: AtomicBool,
    generation: AtomicU32,
    line: Arc<dyn IrqLine>,
}

impl Interrupts {
    /// Nothing raised.
    pub fn new(line: Arc<dyn IrqLine>) -> Self {
        Self { status: AtomicU32::new(0), broken: AtomicBool::new(false), generation: AtomicU32::new(0), line }
    }

    /// The InterruptStatus register.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// The InterruptACK register.
    pub fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Whether the device asked to be reset.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// The ConfigGeneration register.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Forgets everything but the generation.
    pub fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }

    /// Sets the bit, then pulses. If the bit was set already, an edge for it is on its way and the driver has yet to
    /// acknowledge it; it looks at the rings only after that, so it will see what this call is about without another edge.
    fn raise(&self, bit: u32) {
        if self.status.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            self.line.pulse();
        }
    }
}

impl Interrupt for Interrupts {
    fn queue(&self, _index: u16) {
        self.raise(USED_BUFFER);
    }

    fn config(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.raise(CONFIG_CHANGE);
    }

    fn needs_reset(&self) {
        if !self.broken.swap(true, Ordering::SeqCst) {
            self.raise(CONFIG_CHANGE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Edges(AtomicU32);

    impl IrqLine for Edges {
        fn pulse(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn every_bit_that_becomes_set_has_an_edge_and_no_other_has() {
        let edges = Arc::new(Edges::default());
        let interrupts = Interrupts::new(edges.clone());
        let count = || edges.0.load(Ordering::SeqCst);
        interrupts.queue(0);
        interrupts.queue(1);
        assert_eq!((interrupts.status(), count()), (USED_BUFFER, 1));
        interrupts.config();
        assert_eq!((interrupts.status(), count()), (USED_BUFFER | CONFIG_CHANGE, 2));
        interrupts.acknowledge(USED_BUFFER);
        interrupts.queue(0);
        assert_eq!((interrupts.status(), count()), (USED_BUFFER | CONFIG_CHANGE, 3));
    }

    #[test]
    fn the_status_bit_is_set_before_the_edge() {
        struct Check(std::sync::OnceLock<Arc<Interrupts>>, AtomicU32);
        impl IrqLine for Check {
            fn pulse(&self) {
                self.1.store(self.0.get().expect("set below").status(), Ordering::SeqCst);
            }
        }
        let check = Arc::new(Check(std::sync::OnceLock::new(), AtomicU32::new(0)));
        let interrupts = Arc::new(Interrupts::new(check.clone()));
        assert!(check.0.set(interrupts.clone()).is_ok());
        interrupts.queue(0);
        assert_eq!(check.1.load(Ordering::SeqCst), USED_BUFFER);
    }
}
