//! arm64: nothing can be booted yet, and every call says so. Exists so that the crate compiles for such hosts, where the
//! software engine or a later backend may run.

use std::sync::Arc;

use super::boot::{BootError, BootPlan, Slot};
use crate::bus::BusDevice;
use crate::irq::{IrqLine, MsiSink};
use crate::memory::GuestMemory;
use crate::stop::StopLatch;
use crate::virtio::console::LogWriter;

/// Windows begin and end at multiples of this.
pub const WINDOW_STEP: u64 = 1 << 30;

/// Most vCPUs of one machine.
pub const MAX_CPUS: u8 = 64;

/// The first vCPU's state at its first instruction; nothing makes one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    /// Address of that instruction.
    pub pc: u64,
}

/// Registers that point nowhere, for tests without a guest.
#[cfg(test)]
pub(crate) fn any_boot_state() -> BootState {
    BootState { pc: 0 }
}

/// The interrupt chip outside the vCPUs; there is none yet.
pub enum IrqChip {}

impl IrqChip {
    /// The line with that number.
    pub fn line(&self, _irq: u8) -> Arc<dyn IrqLine> {
        match *self {}
    }

    /// Its register window: guest address, bytes, device.
    pub fn window(&self) -> (u64, u64, Arc<dyn BusDevice>) {
        match *self {}
    }
}

/// Guest RAM as `(first address, bytes)`.
pub fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    vec![(0x4000_0000, bytes)]
}

/// Where windows onto files begin in a machine with so many bytes of RAM.
pub fn first_window(ram_bytes: u64) -> u64 {
    let end = ram_ranges(ram_bytes).last().map_or(0, |&(base, len)| base + len);
    end.next_multiple_of(WINDOW_STEP)
}

/// The place of virtio-mmio device `index`.
pub fn slot(_index: usize) -> Option<Slot> {
    None
}

/// Devices on ports: this kind of CPU has no ports.
pub fn port_devices(_stop: &Arc<StopLatch>, _early: Option<Arc<LogWriter>>) -> Vec<(u16, u16, Arc<dyn BusDevice>)> {
    Vec::new()
}

/// Makes the interrupt chip.
pub fn irq_chip(_sink: Arc<dyn MsiSink>, _devices: usize) -> Option<IrqChip> {
    None
}

/// Puts everything into guest memory and returns the first vCPU's state.
pub fn prepare(_memory: &GuestMemory, _plan: &BootPlan<'_>) -> Result<BootState, BootError> {
    Err(BootError::Architecture)
}
