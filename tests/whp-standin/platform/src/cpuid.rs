//! The CPUID table of a virtual processor: what KVM supports, each processor's own APIC id and topology, the leaves of the
//! Hyper-V interface that the synthetic features bring, and then the partition's static results as they were given.
//! Contract: WHvSetPartitionProperty (CpuidResultList, CpuidExitList, SyntheticProcessorFeaturesBanks). Used by `vp`.
//!
//! KVM answers CPUID itself and never exits for it: a function on the exit list gets its default result, which is what a
//! backend would see as `DefaultResult…`, and whatever that backend would change in the exit is not changed here.

use windows_sys::Win32::System::Hypervisor::WHV_X64_CPUID_RESULT;

use crate::kvm::{CPUID_ROOM, CpuidEntry, CpuidTable, ask};
use crate::linux::Fd;
use crate::partition::SetUp;
use crate::result::Result;

/// Leaf 1, ECX: a hypervisor is present.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, ECX: the local APIC can be reached by registers.
const X2APIC: u32 = 1 << 21;
/// `KVM_CPUID_FLAG_SIGNIFCANT_INDEX`.
const INDEXED: u32 = 1;
const LEVEL_THREAD: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;

/// An empty table with room.
pub fn empty() -> Box<CpuidTable> {
    Box::new(CpuidTable { count: CPUID_ROOM as u32, padding: 0, entries: [CpuidEntry::default(); CPUID_ROOM] })
}

/// What this machine's KVM supports.
pub fn supported(kvm: &Fd) -> Result<Vec<CpuidEntry>> {
    let mut table = empty();
    // SAFETY: the structure is the request's, and `count` is its room.
    unsafe { kvm.exchange(ask::GET_SUPPORTED_CPUID, &mut *table) }?;
    // The leaves from 0x4000_0000 are KVM's own paravirtual ones, which a Windows host does not show.
    let all = table.entries.iter().take(table.count as usize);
    Ok(all.filter(|entry| entry.function >> 28 != 4).copied().collect())
}

/// The table for processor `index` of a partition as it was set up. `synthetic` is the first bank of synthetic features.
pub fn table(
    host: &[CpuidEntry],
    index: u32,
    set_up: &SetUp,
    synthetic: u64,
    results: &[WHV_X64_CPUID_RESULT],
) -> Box<CpuidTable> {
    let count = set_up.processors;
    let topology = |entry: &&CpuidEntry| matches!(entry.function, 0xb | 0x1f | 0x8000_0026);
    let mut entries: Vec<CpuidEntry> = host.iter().filter(|entry| !topology(entry)).copied().collect();
    for entry in entries.iter_mut().filter(|entry| entry.function == 1) {
        entry.ebx = entry.ebx & 0xffff | count.min(0xff) << 16 | index << 24;
        entry.ecx |= HYPERVISOR;
        if !set_up.x2apic {
            entry.ecx &= !X2APIC;
        }
    }
    if host.iter().any(|entry| entry.function == 0xb) {
        let level = |index_of_level, eax, ebx, kind| CpuidEntry {
            function: 0xb,
            index: index_of_level,
            flags: INDEXED,
            eax,
            ebx,
            ecx: index_of_level | kind,
            edx: index,
            ..CpuidEntry::default()
        };
        let width = count.next_power_of_two().trailing_zeros();
        entries.extend([level(0, 0, 1, LEVEL_THREAD), level(1, width, count, LEVEL_CORE), level(2, 0, 0, 0)]);
    }
    entries.extend(interface(synthetic));
    for result in results {
        let at = entries.iter().position(|entry| entry.function == result.Function && entry.index == 0);
        let flags = at.map_or(0, |at| entries[at].flags);
        let fresh = CpuidEntry {
            function: result.Function,
            flags,
            eax: result.Eax,
            ebx: result.Ebx,
            ecx: result.Ecx,
            edx: result.Edx,
            ..CpuidEntry::default()
        };
        match at {
            Some(at) => entries[at] = fresh,
            None => entries.push(fresh),
        }
    }
    let mut table = empty();
    entries.truncate(CPUID_ROOM);
    table.entries[..entries.len()].copy_from_slice(&entries);
    table.count = entries.len() as u32;
    table
}

/// The Hyper-V leaves (Hypervisor Top Level Functional Specification, "Feature and Interface Discovery") for what KVM
/// serves by itself: reference counter and page, processor index and run time, hypercall page, frequencies.
fn interface(synthetic: u64) -> Vec<CpuidEntry> {
    const PRESENT_AND_HV1: u64 = 0b11;
    if synthetic & PRESENT_AND_HV1 != PRESENT_AND_HV1 {
        return Vec::new();
    }
    // Bit of the bank, bit of EAX in leaf 0x4000_0003.
    const PRIVILEGES: [(u32, u32); 6] = [(2, 0), (3, 1), (7, 5), (8, 6), (9, 9), (11, 11)];
    let given = PRIVILEGES.iter().filter(|(bank, _)| synthetic >> bank & 1 == 1);
    let privileges = given.fold(0, |eax, (_, bit)| eax | 1 << bit);
    let frequencies = (privileges >> 11 & 1) << 8;
    let leaf = |function, eax, ebx, ecx, edx| CpuidEntry { function, eax, ebx, ecx, edx, ..CpuidEntry::default() };
    vec![
        // "Microsoft Hv"
        leaf(0x4000_0000, 0x4000_0006, 0x7263_694d, 0x666f_736f, 0x7648_2074),
        // "Hv#1": the interface, and what makes KVM serve its registers.
        leaf(0x4000_0001, 0x3123_7648, 0, 0, 0),
        leaf(0x4000_0002, 0, 0, 0, 0),
        leaf(0x4000_0003, privileges, 0, 0, frequencies),
        // No hint but that spinning is never to be reported.
        leaf(0x4000_0004, 0, u32::MAX, 0, 0),
        leaf(0x4000_0005, 0, 0, 0, 0),
        leaf(0x4000_0006, 0, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &CpuidTable, function: u32, index: u32) -> CpuidEntry {
        let all = &table.entries[..table.count as usize];
        *all.iter().find(|entry| (entry.function, entry.index) == (function, index)).expect("the leaf is there")
    }

    #[test]
    fn each_processor_has_its_own_apic_id_and_static_results_win() {
        let entry = |function| CpuidEntry { function, ebx: 0x7700_0800, ecx: X2APIC | 1, ..CpuidEntry::default() };
        let host = [1, 0xb].map(entry);
        let set_up = SetUp { processors: 4, apic: true, x2apic: false, traps_startup: true };
        let result = WHV_X64_CPUID_RESULT { Function: 2, Reserved: [0; 3], Eax: 1, Ebx: 2, Ecx: 3, Edx: 4 };
        let table = table(&host, 3, &set_up, 0, &[result]);
        assert_eq!((find(&table, 1, 0).ebx, find(&table, 1, 0).ecx), (0x0304_0800, HYPERVISOR | 1));
        assert_eq!((find(&table, 0xb, 1).eax, find(&table, 0xb, 1).edx), (2, 3));
        assert_eq!((find(&table, 2, 0).eax, find(&table, 2, 0).edx), (1, 4));
    }

    #[test]
    fn synthetic_features_bring_the_interface() {
        assert!(interface(0).is_empty());
        let leaves = interface(0xb8f);
        assert_eq!((leaves[3].eax, leaves[3].edx), (0b1010_0110_0011, 1 << 8));
    }
}
