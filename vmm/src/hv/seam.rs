//! The traits that each hypervisor implements and that `boot` and `vcpus` use. No cfg, no backend types.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::arch::BootState;
use crate::dax::Window;
use crate::irq::MsiSink;
use crate::kick::Kick;
use crate::memory::GuestMemory;

/// A hypervisor call failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub struct HvError {
    /// Which call, in the hypervisor's own words.
    pub call: &'static str,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// Where device accesses of a vCPU go. Called in the middle of an instruction: must return quickly and never panic.
pub trait IoBus {
    /// The guest reads memory that is not RAM. `data` is 1 to 8 bytes, all to be set.
    fn mmio_read(&self, address: u64, data: &mut [u8]);
    /// The guest writes memory that is not RAM.
    fn mmio_write(&self, address: u64, data: &[u8]);
    /// The guest reads a port. `data` is 1, 2 or 4 bytes per repetition.
    fn pio_read(&self, port: u16, data: &mut [u8]);
    /// The guest writes a port.
    fn pio_write(&self, port: u16, data: &[u8]);
}

/// Why [`Vcpu::run`] came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// [`Vm::kick`] was called.
    Kicked,
    /// The vCPU halted and nothing can wake it (only where the hypervisor does not wait in halt itself).
    Halted,
    /// The guest reset itself (triple fault).
    Reset,
    /// The guest asked the hypervisor for power off.
    PoweredOff,
    /// The hypervisor cannot go on; the text holds a register dump.
    Failed(String),
}

/// Ends a doorbell when dropped.
pub type DoorbellGuard = Box<dyn Send + Sync>;

/// A way to make machines.
pub trait Hypervisor {
    /// Its machines.
    type Vm: Vm;
    /// The engine's name in errors.
    const NAME: &'static str;
    /// Makes a machine with `memory` mapped and an interrupt controller per vCPU. The machine keeps `memory` alive.
    fn create_vm(&self, memory: GuestMemory, cpus: u8) -> Result<Self::Vm, HvError>;
}

/// One machine. Shared by all vCPU threads and devices.
pub trait Vm: MsiSink + Send + Sync + Sized + 'static {
    /// Its vCPUs.
    type Vcpu: Vcpu;
    /// Makes vCPU `index`; called on the thread that will run and drop it. `boot` is for the first vCPU; the others
    /// wait until the guest starts them.
    fn create_vcpu(self: &Arc<Self>, index: u8, boot: &BootState) -> Result<Self::Vcpu, HvError>;
    /// Makes `run` of vCPU `index` return [`Exit::Kicked`] soon, also if it has not been entered (or created) yet.
    fn kick(&self, index: u8);
    /// Signals `kick` when the guest writes the 32-bit `value` to `address`, without an exit to the bus. `None`: this
    /// hypervisor cannot, so the write arrives at the bus.
    fn doorbell(self: &Arc<Self>, address: u64, value: u32, kick: Arc<Kick>) -> Option<DoorbellGuard>;
    /// Makes room for files of the host: `bytes` of guest addresses from `base` on, both multiples of 2 MiB, where there is neither
    /// RAM nor a device. Before the first vCPU is made. `None`: this hypervisor cannot, or not there. The machine keeps the window
    /// alive.
    fn window(&self, base: u64, bytes: u64) -> Option<Arc<Window>>;
    /// Exits to this process by reason so far.
    fn exits(&self) -> BTreeMap<&'static str, u64>;
    /// What the hypervisor itself counted so far, in its own words; empty if it does not tell.
    fn kernel_counters(&self) -> BTreeMap<&'static str, u64>;
}

/// One virtual CPU; stays on its thread.
pub trait Vcpu {
    /// Runs the guest, serving its accesses through `bus`, until something else happens.
    fn run(&mut self, bus: &dyn IoBus) -> Exit;
}
