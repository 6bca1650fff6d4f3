//! Guest RAM of an in-process hypervisor: allocated once per machine, private and anonymous. (QEMU allocates its own, which
//! `vhost_user` maps.) Called by `boot` and by the probe; devices only see [`GuestMemory`], and the balloon gives parts of it
//! back to the system by [`GiveBack`].

use std::io;
use std::ops::Range;
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemory as _, GuestMemoryMmap};

use crate::sys;

/// Shared handle to all of guest RAM. Accesses are bounds-checked by `vm-memory` and may race with the guest: copy once,
/// check the copy, use the copy.
pub type GuestMemory = Arc<GuestMemoryMmap<()>>;

/// What helps where a machine's memory cannot be had: messages of every engine end with it.
pub const LESS_MEMORY: &str =
    "free some, or give the machine less: `lighter start --memory N` (GiB), or `memory` in config.toml";

/// RAM could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system refused the mapping.
    #[error("Could not reserve {mib} MiB of memory for the guest: {LESS_MEMORY}")]
    Allocate {
        /// How much was asked for, in MiB.
        mib: u64,
        /// What the system said.
        #[source]
        source: vm_memory::mmap::FromRangesError,
    },
}

/// Reserves private anonymous RAM for the given `(first guest address, bytes)` ranges.
pub fn anonymous(ranges: &[(u64, u64)]) -> Result<GuestMemory, MemoryError> {
    let total: u64 = ranges.iter().map(|range| range.1).sum();
    let parts: Vec<_> = ranges.iter().map(|&(base, len)| (GuestAddress(base), len as usize)).collect();
    GuestMemoryMmap::from_ranges(&parts)
        .map(Arc::new)
        .map_err(|source| MemoryError::Allocate { mib: total >> 20, source })
}

/// Gives guest memory back to the system, where the system has a way. The guest's addresses stay RAM all the while.
#[derive(Clone, Copy)]
pub struct GiveBack {
    pages: sys::Pages,
}

impl GiveBack {
    /// `None` where this system has no way.
    pub fn here() -> Option<Self> {
        sys::pages().map(|pages| Self { pages })
    }

    /// Gives back the host's pages that lie wholly within the `len` bytes from guest address `start`, and says how many bytes
    /// those are. What they held is lost. A range that is not RAM from end to end is left alone, all of it.
    pub fn range(self, memory: &GuestMemory, start: GuestAddress, len: u64) -> io::Result<u64> {
        let Some(len) = usize::try_from(len).ok().filter(|&len| len > 0 && memory.check_range(start, len)) else {
            return Ok(0);
        };
        let (size, mut given) = ((self.pages.size)(), 0);
        // One slice for each part of RAM that the range goes through.
        for slice in memory.get_slices(start, len) {
            let slice = slice.map_err(io::Error::other)?;
            let whole = whole_pages(slice.ptr_guard().as_ptr().addr(), slice.len(), size);
            if !whole.is_empty() {
                let pages = slice.subslice(whole.start, whole.len()).map_err(io::Error::other)?;
                (self.pages.discard)(&pages)?;
                given += whole.len() as u64;
            }
        }
        Ok(given)
    }
}

/// Which of the `len` bytes at host address `start` are whole pages, counted from `start`. `size` is a power of two.
fn whole_pages(start: usize, len: usize, size: usize) -> Range<usize> {
    let before = start.wrapping_neg() & (size - 1);
    let Some(rest) = len.checked_sub(before) else { return 0..0 };
    before..before + (rest & !(size - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::Bytes as _;

    use super::*;

    #[test]
    fn c2_memory_that_no_system_can_give_is_refused_with_the_way_out() {
        // More than there are addresses, which no overcommitment grants.
        let error = anonymous(&[(0, 3 << 30), (4 << 30, 1 << 60)]).expect_err("no host has an exbibyte").to_string();
        let mib = (3u64 << 10) + (1 << 40);
        assert!(error.contains(&format!("{mib} MiB")) && error.ends_with(LESS_MEMORY), "{error}");
        assert!(error.contains("lighter start --memory"), "{error}");
    }
    /// Every page that a range covers, one by one, as slowly as can be.
    fn covered(start: usize, len: usize, size: usize) -> Vec<usize> {
        let first = start / size * size;
        (first..start + len).step_by(size).filter(|&page| page >= start && page + size <= start + len).collect()
    }

    proptest! {
        #[test]
        fn only_pages_that_lie_within_are_whole(start in 0usize..100_000, len in 0usize..100_000, shift in 12u32..17) {
            let size = 1usize << shift;
            let whole = whole_pages(start, len, size);
            let pages: Vec<usize> = whole.clone().step_by(size).map(|offset| start + offset).collect();
            prop_assert_eq!(pages, covered(start, len, size));
            prop_assert!(whole.len().is_multiple_of(size) && whole.end <= len.max(whole.start));
        }
    }

    #[test]
    fn whole_pages_at_the_ends_of_the_address_space_are_found_without_an_overflow() {
        assert_eq!(whole_pages(0, usize::MAX, 4096), 0..usize::MAX - 4095);
        assert_eq!(whole_pages(usize::MAX - 4095, 4096, 4096), 0..4096);
        assert_eq!(whole_pages(usize::MAX, 1, 4096), 1..1);
        assert!(whole_pages(1, 4095, 4096).is_empty() && whole_pages(1, 0, 4096).is_empty());
    }

    /// 64 KiB, 64 KiB right behind them, a hole, 64 KiB; all filled.
    fn ram() -> GuestMemory {
        let memory =
            anonymous(&[(0, 0x1_0000), (0x1_0000, 0x1_0000), (0x4_0000, 0x1_0000)]).expect("192 KiB can be had");
        for (start, len) in [(0, 0x2_0000), (0x4_0000, 0x1_0000)] {
            memory.write_slice(&vec![0xaa; len], GuestAddress(start)).expect("RAM");
        }
        memory
    }

    #[test]
    fn what_is_not_ram_from_end_to_end_is_left_alone() {
        let Some(give_back) = GiveBack::here() else { return };
        let memory = ram();
        let outside = [
            (0u64, 0u64),
            (0, 0x2_0001),
            (0x1_f000, 0x2000),
            (0x2_0000, 0x1000),
            (0x3_f000, 0x2000),
            (0x4_f000, 0x2000),
            (0x5_0000, 0x1000),
            (0, u64::MAX),
            (0x4_0000, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX - 0xfff, 0x1000),
            (u64::MAX - 0xfff, 0x2000),
            (u64::MAX, u64::MAX),
        ];
        for (start, len) in outside {
            let given = give_back.range(&memory, GuestAddress(start), len).expect("nothing to do");
            assert_eq!(given, 0, "{len:#x} bytes at {start:#x}");
        }
        let mut all = [0; 0x2_0000];
        memory.read_slice(&mut all, GuestAddress(0)).expect("RAM");
        assert!(all.iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn a_range_over_two_parts_goes_back_whole_and_serves_again() {
        let Some(give_back) = GiveBack::here() else { return };
        let memory = ram();
        let given = give_back.range(&memory, GuestAddress(0), 0x2_0000).expect("the system takes it");
        assert_eq!(given, 0x2_0000);
        memory.write_slice(&[0x55; 0x2_0000], GuestAddress(0)).expect("still RAM");
        let mut all = [0; 0x2_0000];
        memory.read_slice(&mut all, GuestAddress(0)).expect("still RAM");
        assert!(all.iter().all(|&byte| byte == 0x55));
    }
}
