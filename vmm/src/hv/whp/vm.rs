//! One machine: its partition with guest memory in it, seats, messages, doorbells. Shared by its vCPU threads; ends when the
//! last of them has dropped its share, and only then is guest memory unmapped.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_memory::{GuestMemory as _, GuestMemoryRegion as _};

use super::api::Api;
use super::counters::Counters;
use super::doorbell;
use super::partition::Partition;
use super::properties;
use super::system::Capabilities;
use super::vcpu::WhpVcpu;
use crate::arch::BootState;
use crate::dax::Window;
use crate::hv::foreign::whp::Clocks;
use crate::hv::foreign::whp::interrupt::request;
use crate::hv::foreign::whp::seats::Seats;
use crate::hv::{DoorbellGuard, HvError, Vm};
use crate::irq::{Msi, MsiSink};
use crate::kick::Kick;
use crate::memory::GuestMemory;

/// The machine. The partition comes first, so that it is gone before the memory behind it can go.
pub struct WhpVm {
    pub(super) partition: Partition,
    /// Frequencies that the guest asks for.
    pub(super) clocks: Clocks,
    /// Number of vCPUs.
    pub(super) cpus: u8,
    pub(super) seats: Seats,
    pub(super) counters: Counters,
    pub(super) memory: GuestMemory,
}

impl WhpVm {
    /// Makes a machine of `cpus` vCPUs over `memory`.
    pub fn new(api: &'static Api, capabilities: &Capabilities, memory: GuestMemory, cpus: u8) -> Result<Self, HvError> {
        let partition = Partition::create(api)?;
        properties::set_up(&partition, capabilities, cpus)?;
        for region in memory.iter() {
            // SAFETY: the range is exactly one of our own mappings, and stays mapped until the partition is gone: the machine
            // owns a share of `memory` and drops it last. All accesses to guest memory expect that it changes.
            unsafe { partition.map(region.as_ptr(), region.start_addr().0, region.len()) }?;
        }
        let (seats, counters) = (Seats::new(cpus), Counters::default());
        Ok(Self { partition, clocks: capabilities.clocks, cpus, seats, counters, memory })
    }
}

impl MsiSink for WhpVm {
    fn signal(&self, msi: Msi) {
        let Some(request) = request(msi) else {
            tracing::debug!(?msi, "an interrupt message that is none");
            return;
        };
        // A message to nobody is lost, as on hardware; for whoever debugs a guest.
        if let Err(error) = self.partition.interrupt(request) {
            tracing::debug!(%error, source = %error.source, ?msi, "interrupt message not delivered");
        }
    }
}

impl Vm for WhpVm {
    type Vcpu = WhpVcpu;

    fn create_vcpu(self: &Arc<Self>, index: u8, boot: &BootState) -> Result<WhpVcpu, HvError> {
        WhpVcpu::new(Arc::clone(self), index, boot)
    }

    fn kick(&self, index: u8) {
        self.seats.kick(index, || self.partition.cancel(index));
    }

    fn doorbell(self: &Arc<Self>, address: u64, value: u32, kick: Arc<Kick>) -> Option<DoorbellGuard> {
        match doorbell::attach(Arc::clone(self), address, value, kick) {
            Ok(guard) => guard.map(|guard| Box::new(guard) as DoorbellGuard),
            Err(error) => {
                tracing::warn!(%error, source = %error.source, address, "no doorbell; the device is served by exits");
                None
            }
        }
    }

    fn window(&self, _base: u64, _bytes: u64) -> Option<Arc<Window>> {
        // A file that becomes shorter under a mapping cannot be met there yet.
        None
    }

    fn exits(&self) -> BTreeMap<&'static str, u64> {
        self.counters.snapshot()
    }

    fn kernel_counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
}
