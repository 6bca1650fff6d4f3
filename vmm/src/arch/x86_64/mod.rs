//! x86-64: Linux by the 64-bit boot protocol, MP table instead of ACPI, our own IOAPIC. [`prepare`] is the whole of what
//! guest memory holds before the first instruction.

/// The zero page, command line and initial file system.
mod boot_params;
/// The guest's CPUID.
pub mod cpuid;
/// The interrupt chip.
pub mod ioapic;
/// Loading the kernel.
mod kernel;
/// Addresses and interrupt numbers.
pub mod layout;
/// CPUs and interrupt lines for Linux.
mod mptable;
/// Boot registers.
pub mod registers;
/// Guests of a few instructions.
#[cfg(test)]
pub(crate) mod stub;

use std::sync::Arc;

use ioapic::{IoApic, Pin};
pub use layout::{MAX_CPUS, WINDOW_STEP, first_window, ram_ranges, slot};
pub use registers::BootState;
use vm_memory::{GuestMemory as _, GuestMemoryRegion as _};

use super::boot::{BootError, BootPlan};
use crate::bus::BusDevice;
use crate::devices::i8042::I8042;
use crate::devices::rtc::Rtc;
use crate::devices::serial::SerialPort;
use crate::irq::{IrqLine, MsiSink};
use crate::memory::GuestMemory;
use crate::stop::StopLatch;
use crate::virtio::console::LogWriter;

/// Puts kernel, initial file system, command line and tables into guest memory; returns the first vCPU's registers.
pub fn prepare(memory: &GuestMemory, plan: &BootPlan<'_>) -> Result<BootState, BootError> {
    let ram: Vec<_> = memory.iter().map(|region| (region.start_addr().0, region.len())).collect();
    let low_end = ram.first().map_or(0, |&(base, size)| base + size);
    if low_end < layout::HIGH_MEMORY {
        return Err(BootError::Memory);
    }
    let kernel = kernel::load(memory, plan.kernel, low_end)?;
    let initramfs = boot_params::place_initramfs(memory, plan.initramfs, kernel.end, low_end)?;
    boot_params::place_cmdline(memory, plan)?;
    boot_params::place_zero_page(memory, initramfs, &ram)?;
    mptable::place(memory, plan.cpus, layout::ioapic_pins(plan.devices))?;
    registers::long_mode(memory, kernel.entry)
}

/// The old PC's devices on ports (base, number of ports, device): the reset line, the time of day, and a serial port
/// if there is an early console for it to print on.
pub fn port_devices(stop: &Arc<StopLatch>, early: Option<Arc<LogWriter>>) -> Vec<(u16, u16, Arc<dyn BusDevice>)> {
    let mut devices: Vec<(u16, u16, Arc<dyn BusDevice>)> = vec![
        (layout::I8042, layout::I8042_SIZE, Arc::new(I8042::new(Arc::clone(stop)))),
        (layout::RTC, layout::RTC_SIZE, Arc::new(Rtc::default())),
    ];
    devices.extend(early.map(|log| (layout::COM1, layout::COM1_SIZE, Arc::new(SerialPort::new(log)) as _)));
    devices
}

/// The interrupt chip outside the vCPUs.
pub struct IrqChip(Arc<IoApic>);

impl IrqChip {
    /// The line with that number; numbers beyond the last pin go nowhere.
    pub fn line(&self, irq: u8) -> Arc<dyn IrqLine> {
        Arc::new(Pin::new(Arc::clone(&self.0), irq))
    }

    /// Its register window: guest address, bytes, device.
    pub fn window(&self) -> (u64, u64, Arc<dyn BusDevice>) {
        (layout::IOAPIC, layout::IOAPIC_SIZE, Arc::clone(&self.0) as _)
    }
}

/// Makes the interrupt chip for that many virtio devices; it delivers through `sink`.
pub fn irq_chip(sink: Arc<dyn MsiSink>, devices: usize) -> Option<IrqChip> {
    Some(IrqChip(Arc::new(IoApic::new(sink, layout::ioapic_pins(devices)))))
}

/// Registers that point nowhere, for tests without a guest.
#[cfg(test)]
pub(crate) fn any_boot_state() -> BootState {
    let memory = crate::memory::anonymous(&[(0, 1 << 20)]).expect("1 MiB");
    registers::long_mode(&memory, 0).expect("1 MiB holds the tables")
}

/// An ELF kernel that holds nothing but `code`, loaded and entered at `entry`; for tests of backends.
#[cfg(test)]
pub(crate) fn tiny_kernel(entry: u64, code: &[u8]) -> Vec<u8> {
    kernel::tests::elf(entry, &[(entry, 0x1000, code)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_boot_is_laid_out_without_overlap() {
        let memory = crate::memory::anonymous(&ram_ranges(16 << 20)).expect("16 MiB");
        let kernel = tiny_kernel(0x10_0000, b"code");
        let plan = BootPlan { cpus: 2, kernel: &kernel, initramfs: b"cpio", cmdline: "quiet", devices: 3 };
        let state = prepare(&memory, &plan).expect("everything fits");
        assert_eq!((state.rip, state.rsi), (0x10_0000, layout::ZERO_PAGE));
    }

    #[test]
    fn m9_an_initial_file_system_that_would_cover_the_kernel_is_refused() {
        let memory = crate::memory::anonymous(&ram_ranges(4 << 20)).expect("4 MiB");
        let kernel = kernel::tests::elf(0x10_0000, &[(0x10_0000, 0x30_0000 - 0x1000, b"code")]);
        let plan = BootPlan { cpus: 1, kernel: &kernel, initramfs: &[0; 0x1001], cmdline: "", devices: 0 };
        assert_eq!(prepare(&memory, &plan), Err(BootError::Initramfs { bytes: 0x1001 }));
    }
}
