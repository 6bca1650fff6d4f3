//! What the first vCPU's registers hold at the kernel's first instruction: the 64-bit entry of the Linux boot protocol
//! (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"), with the tables that it points to. Used by `prepare` and by
//! the probe of a hypervisor.

use vm_memory::{Bytes, GuestAddress};

use super::layout;
use crate::arch::BootError;
use crate::memory::GuestMemory;

/// A code or data segment as its cache holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into the GDT in bytes.
    pub selector: u16,
    /// Type field of the descriptor (SDM vol. 3 §3.4.5.1), accessed.
    pub kind: u8,
    /// 64-bit code (L) if true, else 32-bit (D/B).
    pub long: bool,
}

/// The first vCPU's registers; what is not named is zero or as after reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    /// Instruction pointer: the kernel's entry.
    pub rip: u64,
    /// Stack.
    pub rsp: u64,
    /// Address of the zero page.
    pub rsi: u64,
    /// Code segment.
    pub code: Segment,
    /// All data segments.
    pub data: Segment,
    /// GDT base and limit.
    pub gdt: (u64, u16),
    /// IDT base and limit.
    pub idt: (u64, u16),
    /// Page table root.
    pub cr3: u64,
}

impl BootState {
    /// CR0: protection, numeric error, paging.
    pub const CR0: u64 = 1 | 1 << 5 | 1 << 31;
    /// CR4: physical address extension.
    pub const CR4: u64 = 1 << 5;
    /// EFER: long mode enabled and active.
    pub const EFER: u64 = 1 << 8 | 1 << 10;
    /// RFLAGS: nothing but the bit that is always set; interrupts off.
    pub const RFLAGS: u64 = 1 << 1;
}

/// `__BOOT_CS` and `__BOOT_DS` of the boot protocol.
const CODE: Segment = Segment { selector: 0x10, kind: 0b1011, long: true };
const DATA: Segment = Segment { selector: 0x18, kind: 0b0011, long: false };

/// A flat 4 GiB descriptor: present, ring 0, code or data, page granularity.
fn descriptor(segment: Segment) -> u64 {
    let access = 0x90 | u64::from(segment.kind);
    let flags = if segment.long { 0xa } else { 0xc };
    0xffff | access << 40 | 0xf << 48 | flags << 52
}

/// Writes GDT, IDT and page tables into low memory and gives the registers that go with them.
pub fn long_mode(memory: &GuestMemory, entry: u64) -> Result<BootState, BootError> {
    let gdt = [0, 0, descriptor(CODE), descriptor(DATA)];
    for (address, value) in (layout::GDT..).step_by(8).zip(gdt) {
        store(memory, address, value)?;
    }
    store(memory, layout::IDT, 0)?;
    // Present and writable; the third level maps 2 MiB pages.
    store(memory, layout::PML4, layout::PDPT | 0b11)?;
    store(memory, layout::PDPT, layout::PD | 0b11)?;
    let mut directory = [0u8; 512 * 8];
    for (entry, page) in directory.chunks_exact_mut(8).zip(0u64..) {
        entry.copy_from_slice(&(page << 21 | 0b1000_0011).to_le_bytes());
    }
    memory.write_slice(&directory, GuestAddress(layout::PD)).map_err(|_| BootError::Memory)?;
    Ok(BootState {
        rip: entry,
        rsp: layout::STACK,
        rsi: layout::ZERO_PAGE,
        code: CODE,
        data: DATA,
        gdt: (layout::GDT, 4 * 8 - 1),
        idt: (layout::IDT, 8 - 1),
        cr3: layout::PML4,
    })
}

fn store(memory: &GuestMemory, address: u64, value: u64) -> Result<(), BootError> {
    memory.write_obj(value.to_le(), GuestAddress(address)).map_err(|_| BootError::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_the_ones_of_the_boot_protocol() {
        assert_eq!(descriptor(CODE), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(DATA), 0x00cf_9300_0000_ffff);
    }

    #[test]
    fn the_first_gib_is_mapped_to_itself() {
        let memory = crate::memory::anonymous(&[(0, 1 << 20)]).expect("1 MiB");
        let state = long_mode(&memory, 0x10_0000).expect("1 MiB holds the tables");
        let load = |address| memory.read_obj::<u64>(GuestAddress(address)).expect("in RAM");
        let walk = |virt: u64| {
            let pdpt = load(state.cr3 + (virt >> 39 & 511) * 8) & !0xfff;
            let pd = load(pdpt + (virt >> 30 & 511) * 8) & !0xfff;
            (load(pd + (virt >> 21 & 511) * 8) & !0x1f_ffff) | virt & 0x1f_ffff
        };
        for address in [0, 0x10_0000, 0x100_0000, 0x3fff_ffff] {
            assert_eq!(walk(address), address);
        }
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let memory = crate::memory::anonymous(&[(0, 0x8000)]).expect("32 KiB");
        assert_eq!(long_mode(&memory, 0), Err(BootError::Memory));
    }
}
