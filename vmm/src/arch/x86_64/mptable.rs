//! The MP table (Intel MultiProcessor Specification 1.4): tells Linux, which gets no ACPI here, which CPUs there are, where
//! the IOAPIC is, and that all its pins are edge-triggered ISA lines. Called by `prepare`.

use vm_memory::{Bytes, GuestAddress};

use super::layout;
use crate::arch::BootError;
use crate::memory::GuestMemory;

const SPEC_REVISION: u8 = 4;
/// What both APICs say of themselves.
const APIC_VERSION: u8 = 0x14;
const ENTRY_PROCESSOR: u8 = 0;
const ENTRY_BUS: u8 = 1;
const ENTRY_IOAPIC: u8 = 2;
const ENTRY_INTERRUPT: u8 = 3;
const ENTRY_LOCAL_INTERRUPT: u8 = 4;
const CPU_ENABLED: u8 = 1;
const CPU_BOOTSTRAP: u8 = 2;
const TYPE_INT: u8 = 0;
const TYPE_NMI: u8 = 1;
/// Active high, edge-triggered (§4.3.4).
const EDGE_HIGH: u16 = 0b0101;
const ISA_BUS: u8 = 0;
const ALL_LOCAL_APICS: u8 = 0xff;

/// Writes floating pointer and table for `cpus` CPUs with APIC ids 0, 1, … and an IOAPIC of `pins` pins.
pub fn place(memory: &GuestMemory, cpus: u8, pins: u8) -> Result<(), BootError> {
    let table = table(cpus, pins);
    if table.len() as u64 > layout::MP_FLOATING - layout::MP_TABLE {
        return Err(BootError::Memory);
    }
    let write = |bytes: &[u8], at| memory.write_slice(bytes, GuestAddress(at)).map_err(|_| BootError::Memory);
    write(&floating_pointer(), layout::MP_FLOATING)?;
    write(&table, layout::MP_TABLE)
}

fn floating_pointer() -> [u8; 16] {
    let mut pointer = [0; 16];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&(layout::MP_TABLE as u32).to_le_bytes());
    // One paragraph long; no default configuration; no PIC mode (IMCR).
    pointer[8] = 1;
    pointer[9] = SPEC_REVISION;
    pointer[10] = checksum(&pointer);
    pointer
}

fn table(cpus: u8, pins: u8) -> Vec<u8> {
    let ioapic_id = cpus;
    let mut entries = Vec::new();
    let mut count = 0u16;
    let mut entry = |bytes: &[u8]| {
        entries.extend_from_slice(bytes);
        count += 1;
    };
    for id in 0..cpus {
        let flags = CPU_ENABLED | if id == 0 { CPU_BOOTSTRAP } else { 0 };
        // Signature and features (APIC, FPU) are not read by Linux, which asks CPUID.
        entry(&[ENTRY_PROCESSOR, id, APIC_VERSION, flags, 0, 6, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    entry(b"\x01\x00ISA   ");
    debug_assert_eq!((ENTRY_BUS, ISA_BUS), (1, 0));
    let [a, b, c, d] = (layout::IOAPIC as u32).to_le_bytes();
    entry(&[ENTRY_IOAPIC, ioapic_id, APIC_VERSION, 1, a, b, c, d]);
    let [low, high] = EDGE_HIGH.to_le_bytes();
    for pin in 0..pins {
        entry(&[ENTRY_INTERRUPT, TYPE_INT, low, high, ISA_BUS, pin, ioapic_id, pin]);
    }
    entry(&[ENTRY_LOCAL_INTERRUPT, TYPE_NMI, 0, 0, ISA_BUS, 0, ALL_LOCAL_APICS, 1]);

    let mut table = vec![0; 44];
    table.extend(entries);
    let len = table.len() as u16;
    table[..4].copy_from_slice(b"PCMP");
    table[4..6].copy_from_slice(&len.to_le_bytes());
    table[6] = SPEC_REVISION;
    table[8..16].copy_from_slice(b"LIGHTER ");
    table[16..28].copy_from_slice(b"MICROVM     ");
    table[34..36].copy_from_slice(&count.to_le_bytes());
    table[36..40].copy_from_slice(&(layout::LOCAL_APIC as u32).to_le_bytes());
    table[7] = checksum(&table);
    table
}

/// The byte that makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
    }

    #[test]
    fn tables_add_up_to_zero_and_their_lengths_are_true() {
        assert_eq!(sum(&floating_pointer()), 0);
        for cpus in [1, 2, layout::MAX_CPUS] {
            let table = table(cpus, layout::MAX_IOAPIC_PINS);
            assert_eq!(sum(&table), 0);
            assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
            assert_eq!(table.len(), 44 + usize::from(cpus) * 20 + 8 + 8 + 24 * 8 + 8);
        }
    }

    #[test]
    fn the_largest_machine_fits_its_room() {
        let memory = crate::memory::anonymous(&[(0, 1 << 20)]).expect("1 MiB");
        place(&memory, layout::MAX_CPUS, layout::MAX_IOAPIC_PINS).expect("the room is made for the most CPUs");
        assert_eq!(memory.read_obj::<[u8; 4]>(GuestAddress(layout::MP_FLOATING)).expect("in RAM"), *b"_MP_");
    }

    #[test]
    fn exactly_one_cpu_boots() {
        let table = table(3, 5);
        let flags: Vec<_> = table[44..44 + 60].chunks(20).map(|entry| (entry[1], entry[3])).collect();
        assert_eq!(flags, [(0, 3), (1, 1), (2, 1)]);
    }
}
