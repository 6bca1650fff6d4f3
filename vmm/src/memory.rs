//! Guest RAM of an in-process hypervisor: allocated once per machine, private and anonymous. (QEMU allocates its own, which
//! `vhost_user` maps.) Called by `boot` and by the probe; devices only see [`GuestMemory`].

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_memory_that_no_system_can_give_is_refused_with_the_way_out() {
        // More than there are addresses, which no overcommitment grants.
        let error = anonymous(&[(0, 3 << 30), (4 << 30, 1 << 60)]).expect_err("no host has an exbibyte").to_string();
        let mib = (3u64 << 10) + (1 << 40);
        assert!(error.contains(&format!("{mib} MiB")) && error.ends_with(LESS_MEMORY), "{error}");
        assert!(error.contains("lighter start --memory"), "{error}");
    }
}
