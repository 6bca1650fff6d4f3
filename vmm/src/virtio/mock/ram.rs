//! The mock driver's guest RAM: two ranges with a hole between them, and a bump allocator for buffers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{Bytes, GuestAddress};

use crate::memory::{self, GuestMemory};

/// First RAM range: `0..LOW_END`.
pub(crate) const LOW_END: u64 = 16 << 20;
/// Second RAM range: `HIGH_BASE..HIGH_END`; between the two there is nothing.
pub(crate) const HIGH_BASE: u64 = 32 << 20;
/// One past the last byte of RAM.
pub(crate) const HIGH_END: u64 = HIGH_BASE + (1 << 20);
/// Where `alloc` hands out buffers; below are the rings.
const DATA_BASE: u64 = 8 << 20;

/// Guest RAM and a bump allocator for buffers in it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ram {
    /// The memory itself.
    pub memory: GuestMemory,
    next: Arc<AtomicU64>,
}

impl Ram {
    pub(super) fn new() -> Self {
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
