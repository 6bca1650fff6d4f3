//! A partition's guest-physical memory as KVM slots. Contract: WHvMapGpaRange (replaces what was mapped there before),
//! WHvUnmapGpaRange. KVM changes slots only as wholes, so a part that stays is removed and added again; a running vCPU may
//! see the gap, which Windows would not show it. Used by `exports` and `access`.

use std::collections::BTreeMap;

use windows_sys::Win32::System::Hypervisor::{WHvMapGpaRangeFlagRead, WHvMapGpaRangeFlagWrite};

use crate::kvm::ask;
use crate::linux::Fd;
use crate::result::{INVALID, Result};

const PAGE: u64 = 4096;
/// `KVM_MEM_READONLY`.
const READ_ONLY: u32 = 2;

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct Slot {
    slot: u32,
    flags: u32,
    address: u64,
    size: u64,
    host: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    size: u64,
    host: u64,
    flags: u32,
    slot: u32,
}

/// What is mapped, by guest address.
#[derive(Debug, Default)]
pub struct Memory {
    regions: BTreeMap<u64, Region>,
    next: u32,
    free: Vec<u32>,
}

fn check(address: u64, size: u64) -> Result<u64> {
    let end = address.checked_add(size).ok_or(INVALID)?;
    if size == 0 || !address.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) { Err(INVALID) } else { Ok(end) }
}

impl Memory {
    /// Maps `size` bytes of this process at `host` to the guest's `address`.
    pub fn map(&mut self, vm: &Fd, host: u64, address: u64, size: u64, flags: i32) -> Result<()> {
        check(address, size)?;
        if host == 0 || !host.is_multiple_of(PAGE) || flags & WHvMapGpaRangeFlagRead == 0 {
            return Err(INVALID);
        }
        self.clear(vm, address, address + size)?;
        let flags = if flags & WHvMapGpaRangeFlagWrite == 0 { READ_ONLY } else { 0 };
        self.add(vm, address, size, host, flags)
    }

    /// Unmaps a range; pages in it that are not mapped are fine.
    pub fn unmap(&mut self, vm: &Fd, address: u64, size: u64) -> Result<()> {
        let end = check(address, size)?;
        self.clear(vm, address, end)
    }

    /// How many pages of 4 KiB are mapped.
    pub fn pages(&self) -> u64 {
        self.regions.values().map(|region| region.size / PAGE).sum()
    }

    /// Reads guest memory up to the end of the region; how many bytes there were.
    pub fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let Some((start, region)) = self.regions.range(..=address).next_back() else { return 0 };
        let Some(left) = region.size.checked_sub(address - start) else { return 0 };
        let count = into.len().min(left as usize);
        let source = (region.host + (address - start)) as *const u8;
        // SAFETY: the VMM promised by mapping it that this memory of its process stays; the guest may write at the same
        // time, and bytes torn by it are its own affair.
        unsafe { source.copy_to_nonoverlapping(into.as_mut_ptr(), count) };
        count
    }

    fn add(&mut self, vm: &Fd, address: u64, size: u64, host: u64, flags: u32) -> Result<()> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        set(vm, Slot { slot, flags, address, size, host })?;
        self.regions.insert(address, Region { size, host, flags, slot });
        Ok(())
    }

    fn clear(&mut self, vm: &Fd, start: u64, end: u64) -> Result<()> {
        let hit = |(&at, region): (&u64, &Region)| (at < end && at + region.size > start).then_some((at, *region));
        let hits: Vec<(u64, Region)> = self.regions.iter().filter_map(hit).collect();
        for (at, region) in hits {
            set(vm, Slot { slot: region.slot, flags: region.flags, address: at, size: 0, host: region.host })?;
            self.regions.remove(&at);
            self.free.push(region.slot);
            let stop = at + region.size;
            if at < start {
                self.add(vm, at, start - at, region.host, region.flags)?;
            }
            if stop > end {
                self.add(vm, end, stop - end, region.host + (end - at), region.flags)?;
            }
        }
        Ok(())
    }
}

fn set(vm: &Fd, mut slot: Slot) -> Result<()> {
    // SAFETY: the structure is the request's; KVM checks the range, and who maps memory keeps it.
    unsafe { vm.exchange(ask::SET_USER_MEMORY_REGION, &mut slot) }?;
    Ok(())
}
