//! One KVM vCPU on its thread: enters the guest, serves its device accesses, and says why it came back. Called by `vcpus`.

use std::sync::Arc;

use kvm_bindings::{KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::counters::Reason;
use super::fault::Faults;
use super::registers::{self, Fetching};
use super::vm::{KvmVm, failed};
use crate::arch::BootState;
use crate::arch::cpuid::Policy;
use crate::hv::{Exit, HvError, IoBus, Vcpu};

/// The vCPU. Its file is dropped before its share of the machine.
pub struct KvmVcpu {
    fd: VcpuFd,
    index: u8,
    faults: Faults,
    vm: Arc<KvmVm>,
}

impl KvmVcpu {
    /// Makes vCPU `index` on the calling thread, which also runs and drops it.
    pub fn new(vm: Arc<KvmVm>, index: u8, boot: &BootState) -> Result<Self, HvError> {
        let mut fd = vm.fd().create_vcpu(index.into()).map_err(failed("KVM_CREATE_VCPU"))?;
        let policy = Policy { apic_id: index, cpus: vm.cpus, tsc_deadline: vm.tsc_deadline };
        let fetching = if vm.windows().is_empty() { Fetching::Async } else { Fetching::Sync };
        registers::set_cpuid(&fd, &vm.host_cpuid, policy, fetching)?;
        registers::set_defaults(&fd)?;
        if index == 0 {
            registers::set_boot_state(&fd, boot)?;
        }
        vm.watch(&fd);
        let immediate_exit = &raw mut fd.get_kvm_run().immediate_exit;
        // SAFETY: the mapping lives as long as `fd`, and `drop` vacates the seat before `fd` goes; this type is not Send.
        unsafe { vm.seats.occupy(index, immediate_exit) };
        Ok(Self { fd, index, faults: Faults::default(), vm })
    }

    /// Does what can be done about memory that KVM could not reach; says why the guest cannot go on, if it cannot.
    fn reach_memory(&mut self) -> Option<String> {
        self.vm.counters.count(Reason::Fault);
        let registers = match self.fd.get_regs() {
            Ok(registers) => registers,
            Err(error) => return Some(format!("KVM_GET_REGS failed after a fault ({error})")),
        };
        let goes_on = self.faults.may_go_on(registers, &self.vm.windows());
        (!goes_on).then(|| "The guest used memory that is not there".to_owned())
    }

    /// The registers, for a report that ends the machine.
    fn dump(&self, what: &str) -> String {
        let general = self.fd.get_regs().unwrap_or_default();
        let special = self.fd.get_sregs().unwrap_or_default();
        format!(
            "{what} on vCPU {}: rip {:#x} rsp {:#x} rflags {:#x} rax {:#x} rcx {:#x} cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
            self.index,
            general.rip,
            general.rsp,
            general.rflags,
            general.rax,
            general.rcx,
            special.cr0,
            special.cr2,
            special.cr3,
            special.cr4,
            special.efer
        )
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.vm.seats.vacate(self.index);
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, bus: &dyn IoBus) -> Exit {
        loop {
            let counters = &self.vm.counters;
            let failure = match self.fd.run() {
                Ok(VcpuExit::MmioRead(address, data)) => {
                    counters.count(Reason::MmioRead);
                    bus.mmio_read(address, data);
                    continue;
                }
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    counters.count(Reason::MmioWrite);
                    bus.mmio_write(address, data);
                    continue;
                }
                // A string instruction arrives as one access of many bytes; no device of ours has a use for those.
                Ok(VcpuExit::IoIn(port, data)) => {
                    counters.count(Reason::PioRead);
                    bus.pio_read(port, data);
                    continue;
                }
                Ok(VcpuExit::IoOut(port, data)) => {
                    counters.count(Reason::PioWrite);
                    bus.pio_write(port, data);
                    continue;
                }
                Err(error) if error.errno() == libc::EINTR => {
                    counters.count(Reason::Interrupted);
                    if self.vm.seats.acknowledge(self.index) {
                        return Exit::Kicked;
                    }
                    continue;
                }
                // Both are EFAULT: this one is what the crate makes of it where KVM has written down a reason, as newer ones do.
                Ok(VcpuExit::MemoryFault { .. }) => match self.reach_memory() {
                    Some(failure) => failure,
                    None => continue,
                },
                Err(error) if error.errno() == libc::EFAULT => match self.reach_memory() {
                    Some(failure) => failure,
                    None => continue,
                },
                // An application processor that was woken while it was still waiting for its start.
                Err(error) if error.errno() == libc::EAGAIN => continue,
                Ok(VcpuExit::Hlt) => return Exit::Halted,
                Ok(VcpuExit::Shutdown) => {
                    tracing::debug!(registers = %self.dump("triple fault"), "guest resets by a fault");
                    return Exit::Reset;
                }
                Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _)) => return Exit::PoweredOff,
                Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _)) => return Exit::Reset,
                Ok(VcpuExit::FailEntry(reason, _)) => format!("KVM could not enter the guest (reason {reason:#x})"),
                Ok(VcpuExit::InternalError) => "KVM could not go on (internal error)".to_owned(),
                Ok(exit) => {
                    counters.count(Reason::Other);
                    format!("KVM gave an exit that lighter does not know ({exit:?})")
                }
                Err(error) => format!("KVM_RUN failed ({error})"),
            };
            return Exit::Failed(self.dump(&failure));
        }
    }
}
