//! Every guest-physical address, port and interrupt number of an x86-64 machine. The only file that names them; the
//! same map on every hypervisor.
//!
//! ```text
//! 0x0000_0000  RAM: GDT, page tables, zero page, command line, MP table   (all below 640 KiB)
//! 0x0010_0000  RAM: kernel, then free memory, initial file system at the top
//! 0xc000_0000  gap: 0xd000_0000 virtio-mmio slots, 0xfec0_0000 IOAPIC, 0xfee0_0000 local APICs
//! 0x1_0000_0000  the rest of RAM
//! next whole GiB above all of it: windows onto files of the host, if any. They are not in the memory map: a driver that finds
//!                one by its device's registers adds it by itself.
//! ```

use super::super::boot::Slot;

/// Global descriptor table of the first vCPU until Linux loads its own.
pub const GDT: u64 = 0x500;
/// An empty interrupt descriptor table: a fault before Linux has its own is a triple fault.
pub const IDT: u64 = 0x520;
/// `struct boot_params` (Linux Documentation/arch/x86/zero-page.rst).
pub const ZERO_PAGE: u64 = 0x7000;
/// Initial stack; Linux sets its own at once.
pub const STACK: u64 = 0x8ff0;
/// Page tables that map the first GiB to itself: one PML4, one PDPT, one PD.
pub const PML4: u64 = 0x9000;
/// Second level, see [`PML4`].
pub const PDPT: u64 = 0xa000;
/// Third level, see [`PML4`].
pub const PD: u64 = 0xb000;
/// Where the first GiB, all that [`PML4`] maps, ends.
pub const BOOT_MAP_END: u64 = 1 << 30;
/// The kernel command line, NUL-terminated.
pub const CMDLINE: u64 = 0x2_0000;
/// Room for the command line with its NUL: what Linux takes (COMMAND_LINE_SIZE).
pub const CMDLINE_SIZE: usize = 2048;
/// MP configuration table, up to [`MP_FLOATING`].
pub const MP_TABLE: u64 = 0x9_d000;
/// MP floating pointer: in the last KiB of base memory, the second place that Linux searches (MP spec 1.4 §4).
pub const MP_FLOATING: u64 = 0x9_fc00;
/// End of base memory; from here to [`HIGH_MEMORY`] nothing may be used.
pub const LOW_MEMORY_END: u64 = 0xa_0000;
/// Where kernels begin at the earliest.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// RAM below 4 GiB ends here at the latest.
pub const GAP_START: u64 = 0xc000_0000;
/// RAM goes on here.
pub const GAP_END: u64 = 0x1_0000_0000;

/// The IOAPIC's register window.
pub const IOAPIC: u64 = 0xfec0_0000;
/// Bytes of the IOAPIC's window.
pub const IOAPIC_SIZE: u64 = 0x20;
/// Local APICs, all at the same address.
pub const LOCAL_APIC: u64 = 0xfee0_0000;
/// Three pages that KVM wants for itself on Intel hosts, where no RAM and no device is.
pub const KVM_TSS: u64 = 0xfffb_d000;

/// Most input pins of the IOAPIC; a machine has as many as it uses, because Linux reads and writes every pin's entry
/// several times while it boots, and each access is an exit.
pub const MAX_IOAPIC_PINS: u8 = 24;
/// First pin given to a virtio device. Pin 0 stays free, because Linux takes interrupt 0 for "none".
const FIRST_VIRTIO_IRQ: u8 = 1;
const VIRTIO_BASE: u64 = 0xd000_0000;
const VIRTIO_WINDOW: u64 = 0x1000;
/// How many virtio devices fit: one pin each.
pub const SLOTS: usize = (MAX_IOAPIC_PINS - FIRST_VIRTIO_IRQ) as usize;

/// First serial port.
pub const COM1: u16 = 0x3f8;
/// Ports of a serial port.
pub const COM1_SIZE: u16 = 8;
/// The keyboard controller's ports, 0x60 to 0x64; only its reset line is there.
pub const I8042: u16 = 0x60;
/// Ports of the keyboard controller.
pub const I8042_SIZE: u16 = 5;
/// The clock's ports, 0x70 and 0x71.
pub const RTC: u16 = 0x70;
/// Ports of the clock.
pub const RTC_SIZE: u16 = 2;

/// Most vCPUs of one machine: what fits the MP table's room and 8-bit APIC ids.
pub const MAX_CPUS: u8 = 64;

/// The place of virtio-mmio device `index`.
pub fn slot(index: usize) -> Option<Slot> {
    let index = u8::try_from(index).ok().filter(|&index| usize::from(index) < SLOTS)?;
    let address = VIRTIO_BASE + u64::from(index) * VIRTIO_WINDOW;
    Some(Slot { address, size: VIRTIO_WINDOW, irq: FIRST_VIRTIO_IRQ + index })
}

/// How many pins a machine with that many virtio devices has.
pub fn ioapic_pins(devices: usize) -> u8 {
    u8::try_from(devices)
        .map_or(MAX_IOAPIC_PINS, |devices| devices.saturating_add(FIRST_VIRTIO_IRQ).min(MAX_IOAPIC_PINS))
}

/// Guest RAM as `(first address, bytes)`: below the gap, and what is left above 4 GiB.
pub fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= GAP_START {
        return vec![(0, bytes)];
    }
    vec![(0, GAP_START), (GAP_END, bytes - GAP_START)]
}

/// Windows begin and end at multiples of this, so that the guest's kernel and the hypervisor can map them by their largest pages.
pub const WINDOW_STEP: u64 = 1 << 30;

/// Where windows onto files begin in a machine with so many bytes of RAM: above 4 GiB and all RAM.
pub fn first_window(ram_bytes: u64) -> u64 {
    let end = ram_ranges(ram_bytes).last().map_or(0, |&(base, len)| base + len);
    end.max(GAP_END).next_multiple_of(WINDOW_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_their_own_pin_and_end_before_the_ioapic() {
        let all: Vec<_> = (0..).map_while(slot).collect();
        assert_eq!(all.len(), SLOTS);
        assert!(all.iter().all(|slot| slot.irq < MAX_IOAPIC_PINS && slot.address + slot.size <= IOAPIC));
        assert!((0..all.len()).all(|index| all[index].irq < ioapic_pins(index + 1)));
        assert_eq!(ioapic_pins(usize::MAX), MAX_IOAPIC_PINS);
        assert!(all.windows(2).all(|pair| pair[0].address + pair[0].size == pair[1].address));
    }

    #[test]
    fn windows_are_above_all_else_at_whole_gib() {
        for mib in [64u64, 3 << 10, (3 << 10) + 2, 4 << 10, 256 << 10] {
            let first = first_window(mib << 20);
            assert!(ram_ranges(mib << 20).iter().all(|&(base, len)| base + len <= first));
            assert!(first >= GAP_END && first.is_multiple_of(WINDOW_STEP), "{first:#x}");
        }
    }

    #[test]
    fn ram_leaves_the_gap_free_and_loses_no_byte() {
        for gib in [1u64, 3, 4, 64] {
            let ranges = ram_ranges(gib << 30);
            assert_eq!(ranges.iter().map(|range| range.1).sum::<u64>(), gib << 30);
            assert!(ranges.iter().all(|&(base, len)| base + len <= GAP_START || base >= GAP_END));
        }
    }
}
