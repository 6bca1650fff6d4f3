//! One KVM machine: memory slots, split irqchip, messages, doorbells. Shared by its vCPU threads; ends when the last of
//! them has dropped its share, and only then is guest memory unmapped.

use std::collections::BTreeMap;
use std::io::Error;
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_enable_cap, kvm_msi, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use vm_memory::{GuestMemory as _, GuestMemoryRegion as _};

use super::counters::Counters;
use super::doorbell;
use super::kernel_stats::VcpuStats;
use super::seats::Seats;
use super::vcpu::KvmVcpu;
use crate::arch::{BootState, layout};
use crate::dax::{Area, Window};
use crate::hv::{DoorbellGuard, HvError, Vm};
use crate::irq::{Msi, MsiSink};
use crate::kick::Kick;
use crate::memory::GuestMemory;
use crate::sys::dax_area::Reserved;

/// The machine. The file comes first, so that it is closed before the memory behind it can go.
pub struct KvmVm {
    fd: VmFd,
    /// The host's CPUID table.
    pub(super) host_cpuid: CpuId,
    /// The local APIC timer takes TSC deadlines.
    pub(super) tsc_deadline: bool,
    /// Number of vCPUs.
    pub(super) cpus: u8,
    pub(super) seats: Seats,
    pub(super) counters: Counters,
    kernel_stats: Mutex<Vec<VcpuStats>>,
    /// Windows onto files, each in a memory slot behind those of RAM. They stay until the machine is gone.
    windows: Mutex<Vec<Arc<Window>>>,
    memory: GuestMemory,
}

/// Names the call in an error.
pub fn failed(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> HvError {
    move |error| HvError { call, source: Error::from_raw_os_error(error.errno()) }
}

impl KvmVm {
    /// Makes a machine of `cpus` vCPUs over `memory`.
    pub fn new(kvm: &kvm_ioctls::Kvm, memory: GuestMemory, cpus: u8) -> Result<Self, HvError> {
        let fd = kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        fd.set_tss_address(layout::KVM_TSS as usize).map_err(failed("KVM_SET_TSS_ADDR"))?;
        let mut split = kvm_enable_cap { cap: Cap::SplitIrqchip as u32, ..Default::default() };
        split.args[0] = layout::MAX_IOAPIC_PINS.into();
        fd.enable_cap(&split).map_err(failed("KVM_CAP_SPLIT_IRQCHIP"))?;
        map(&fd, &memory)?;
        let host_cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
        let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
        let (seats, counters) = (Seats::new(cpus), Counters::default());
        let (kernel_stats, windows) = (Mutex::default(), Mutex::default());
        Ok(Self { fd, host_cpuid, tsc_deadline, cpus, seats, counters, kernel_stats, windows, memory })
    }

    /// Keeps the kernel's counters of a new vCPU, if it has any; they outlive the vCPU's thread.
    pub fn watch(&self, vcpu: &VcpuFd) {
        self.kernel_stats.lock().unwrap_or_else(PoisonError::into_inner).extend(VcpuStats::open(vcpu));
    }

    /// The windows that there are.
    pub fn windows(&self) -> Vec<Arc<Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn new_window(&self, base: u64, bytes: u64) -> Result<Arc<Window>, HvError> {
        let failed_here = |source| HvError { call: "Reserving addresses for files", source };
        let end = base.checked_add(bytes).filter(|&end| end <= self.address_end());
        if end.is_none() {
            return Err(failed_here(std::io::Error::other("this CPU has too few address bits")));
        }
        let area = Reserved::new(bytes).map_err(failed_here)?;
        // Held over the call, so that no two get the same slot.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let region = kvm_userspace_memory_region {
            slot: (self.memory.num_regions() + windows.len()) as u32,
            flags: 0,
            guest_phys_addr: base,
            memory_size: bytes,
            userspace_addr: area.address(),
        };
        let window = Window::new(base, Box::new(area));
        // SAFETY: the range is reserved for this alone, and stays so until the machine is gone: it keeps the window.
        unsafe { self.fd.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))?;
        windows.push(Arc::clone(&window));
        Ok(window)
    }

    /// Where guest-physical addresses end by the host's CPUID (leaf 0x8000_0008, EAX 7:0, bits; 36 where there is none).
    fn address_end(&self) -> u64 {
        let leaf = self.host_cpuid.as_slice().iter().find(|leaf| leaf.function == 0x8000_0008);
        let bits = leaf.map_or(36, |leaf| leaf.eax & 0xff).min(52);
        1 << bits
    }

    /// The file itself, for vCPUs and doorbells.
    pub fn fd(&self) -> &VmFd {
        &self.fd
    }
}

/// Maps all of `memory`, one slot per region, and asks for huge pages: fewer faults while the guest touches its RAM first.
pub fn map(fd: &VmFd, memory: &GuestMemory) -> Result<(), HvError> {
    for (slot, region) in (0u32..).zip(memory.iter()) {
        let host = region.as_ptr();
        // SAFETY: the range is exactly one of our own mappings, and the advice changes nothing but the page size.
        let advised =
            unsafe { rustix::mm::madvise(host.cast(), region.len() as usize, rustix::mm::Advice::LinuxHugepage) };
        if let Err(error) = advised {
            tracing::debug!(%error, "no huge pages for guest memory");
        }
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: host as u64,
        };
        // SAFETY: the range is mapped, and stays so until the machine is gone: `KvmVm` owns a share of `memory`, and the
        // probe drops its machine first.
        unsafe { fd.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}

impl MsiSink for KvmVm {
    fn signal(&self, msi: Msi) {
        let message = kvm_msi {
            address_lo: msi.address as u32,
            address_hi: (msi.address >> 32) as u32,
            data: msi.data,
            ..Default::default()
        };
        // KVM answers 0 when no local APIC took the message: lost, as on hardware. Both are for whoever debugs a guest.
        if let Err(error) = self.fd.signal_msi(message) {
            tracing::debug!(%error, ?msi, "interrupt message not delivered");
        }
    }
}

impl Vm for KvmVm {
    type Vcpu = KvmVcpu;

    fn create_vcpu(self: &Arc<Self>, index: u8, boot: &BootState) -> Result<KvmVcpu, HvError> {
        KvmVcpu::new(Arc::clone(self), index, boot)
    }

    fn kick(&self, index: u8) {
        self.seats.kick(index);
    }

    fn doorbell(self: &Arc<Self>, address: u64, value: u32, kick: Arc<Kick>) -> Option<DoorbellGuard> {
        match doorbell::attach(Arc::clone(self), address, value, kick) {
            Ok(guard) => Some(Box::new(guard)),
            Err(error) => {
                tracing::warn!(%error, address, "no doorbell; the device is served by exits");
                None
            }
        }
    }

    fn window(&self, base: u64, bytes: u64) -> Option<Arc<Window>> {
        match self.new_window(base, bytes) {
            Ok(window) => Some(window),
            Err(error) => {
                tracing::warn!(%error, source = %error.source, base, bytes, "no window; files are copied");
                None
            }
        }
    }

    fn exits(&self) -> BTreeMap<&'static str, u64> {
        self.counters.snapshot()
    }

    fn kernel_counters(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        let stats = self.kernel_stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.iter().for_each(|vcpu| vcpu.add_to(&mut sums));
        sums
    }
}
