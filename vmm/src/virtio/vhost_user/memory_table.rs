//! The memory that a vhost-user frontend shares with us: maps its regions, checks them, and translates the frontend's own
//! addresses into guest addresses. Called by `backend`.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_get_seals};
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::memory::GuestMemory;

/// The frontend's memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not one file per region.
    #[error("{files} files came with {regions} memory regions")]
    Files {
        /// Regions in the message.
        regions: usize,
        /// Files attached to it.
        files: usize,
    },
    /// Somebody could shrink the file while we have it mapped, and the next access would kill this process.
    #[error("The file behind the memory region at {guest:#x} is not sealed against shrinking")]
    NotSealed {
        /// Guest address of the region.
        guest: u64,
    },
    /// The system cannot map it: past the end of its file, not aligned to pages, too large.
    #[error("Could not map the memory region at {guest:#x} ({size:#x} bytes)")]
    Map {
        /// Guest address of the region.
        guest: u64,
        /// Its size in bytes.
        size: u64,
        /// Why.
        #[source]
        source: MmapRegionError,
    },
    /// Two regions claim the same address, or one wraps around the end of the address space.
    #[error("The memory regions overlap")]
    Overlap,
}

/// One set of mapped regions. The mapping lives as long as anyone holds [`MemoryTable::memory`].
pub struct MemoryTable {
    memory: GuestMemory,
    regions: Vec<Region>,
}

#[derive(Clone, Copy)]
struct Region {
    guest: u64,
    user: u64,
    size: u64,
    offset: u64,
}

impl Region {
    /// The vhost crate has checked that none of the three ranges wraps; we do not rely on it.
    fn from_message(message: &VhostUserMemoryRegion) -> Option<Self> {
        // The message is packed: its fields are copied before anything looks at them.
        let (guest, user) = (message.guest_phys_addr, message.user_addr);
        let (size, offset) = (message.memory_size, message.mmap_offset);
        for start in [guest, user, offset] {
            start.checked_add(size)?;
        }
        (size > 0).then_some(Self { guest, user, size, offset })
    }
}

impl MemoryTable {
    /// Maps `regions`, each backed by the file of the same position.
    pub fn map(regions: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<Self, TableError> {
        if regions.len() != files.len() {
            return Err(TableError::Files { regions: regions.len(), files: files.len() });
        }
        let mut mapped = Vec::with_capacity(regions.len());
        for (message, file) in regions.iter().zip(files) {
            let region = Region::from_message(message).ok_or(TableError::Overlap)?;
            mapped.push((region, map_region(&region, file)?));
        }
        mapped.sort_unstable_by_key(|(region, _)| region.user);
        if mapped.windows(2).any(|pair| pair[0].0.user + pair[0].0.size > pair[1].0.user) {
            return Err(TableError::Overlap);
        }
        mapped.sort_unstable_by_key(|(region, _)| region.guest);
        let (regions, mapped) = mapped.into_iter().unzip();
        // Refuses regions that overlap in the guest.
        let memory = GuestMemoryMmap::from_regions(mapped).map_err(|_| TableError::Overlap)?;
        Ok(Self { memory: Arc::new(memory), regions })
    }

    /// All of guest RAM.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The guest address of what the frontend sees at `user` in its own address space.
    pub fn guest_address(&self, user: u64) -> Option<u64> {
        self.regions
            .iter()
            .find(|region| (region.user..region.user + region.size).contains(&user))
            .map(|region| region.guest + (user - region.user))
    }
}

fn map_region(region: &Region, file: File) -> Result<GuestRegionMmap<()>, TableError> {
    let Region { guest, size, offset, .. } = *region;
    let sealed = fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    if !sealed {
        return Err(TableError::NotSealed { guest });
    }
    let failed = |source| TableError::Map { guest, size, source };
    let file_size = file.metadata().map_err(|source| failed(MmapRegionError::Mmap(source)))?.len();
    if file_size < offset + size {
        return Err(failed(MmapRegionError::MappingPastEof));
    }
    let length = usize::try_from(size).map_err(|_| TableError::Overlap)?;
    let mapping = MmapRegion::from_file(FileOffset::new(file, offset), length).map_err(failed)?;
    GuestRegionMmap::new(mapping, GuestAddress(guest)).ok_or(TableError::Overlap)
}
