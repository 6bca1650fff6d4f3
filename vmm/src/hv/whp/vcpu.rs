//! One virtual processor on its thread: enters the guest, answers its exits, and says why it came back. Called by `vcpus`.

use std::sync::Arc;

use windows_sys::Win32::System::Hypervisor::*;

use super::counters::Reason;
use super::emulator::{Emulator, Session};
use super::mmio::{self, told};
use super::partition::{ExitContext, Value};
use super::port;
use super::registers::{self, number};
use super::vm::WhpVm;
use crate::arch::BootState;
use crate::arch::cpuid::{Leaf, Policy};
use crate::hv::foreign::whp::cpuid;
use crate::hv::foreign::whp::interrupt::{Order, order};
use crate::hv::foreign::whp::msr;
use crate::hv::foreign::whp::seats::Next;
use crate::hv::{Exit, HvError, IoBus, Vcpu};
use crate::rate_limit::RateLimit;

/// Bytes of CPUID, RDMSR and WRMSR, should the platform not say.
const TWO: u8 = 2;
/// `WHV_VP_EXIT_CONTEXT`: the instruction's length is the lower half of this byte.
const LENGTH: u8 = 0xf;
/// `WHV_X64_MSR_ACCESS_INFO`: a write.
const WRITE: u32 = 1 << 0;

/// The virtual processor. Its emulator ends before its share of the machine.
pub struct WhpVcpu {
    emulator: Emulator,
    index: u8,
    policy: Policy,
    unknown: RateLimit,
    vm: Arc<WhpVm>,
}

/// What an exit leads to: more guest, the end of the run, or a failure.
type Served = Result<Option<Exit>, String>;

impl WhpVcpu {
    /// Makes vCPU `index` on the calling thread, which also runs and drops it.
    pub fn new(vm: Arc<WhpVm>, index: u8, boot: &BootState) -> Result<Self, HvError> {
        let emulator = Emulator::new(vm.partition.api())?;
        vm.partition.create_vcpu(index)?;
        let policy = Policy { apic_id: index, cpus: vm.cpus, tsc_deadline: false };
        let vcpu = Self { emulator, index, policy, unknown: RateLimit::default(), vm };
        registers::set_defaults(&vcpu.vm.partition, index);
        if index == 0 {
            registers::set_boot_state(&vcpu.vm.partition, boot)?;
        }
        vcpu.vm.seats.occupy(index);
        Ok(vcpu)
    }

    fn dump(&self, what: &str) -> String {
        registers::dump(&self.vm.partition, self.index, what)
    }

    /// Sets registers and steps over the instruction that exited.
    fn answer(&self, state: &WHV_VP_EXIT_CONTEXT, answer: &[(WHV_REGISTER_NAME, u64)]) -> Result<(), String> {
        let length = match state._bitfield & LENGTH {
            0 => TWO,
            length => length,
        };
        let after = (WHvX64RegisterRip, state.Rip.wrapping_add(length.into()));
        let (names, values): (Vec<_>, Vec<Value>) =
            answer.iter().chain([&after]).map(|&(name, value)| (name, number(value))).unzip();
        self.vm.partition.put(self.index, &names, &values).map_err(|error| told(&error))
    }

    fn cpuid(&self, state: &WHV_VP_EXIT_CONTEXT, asked: &WHV_X64_CPUID_ACCESS_CONTEXT) -> Result<(), String> {
        let leaf = cpuid::answer(
            Leaf {
                function: asked.Rax as u32,
                index: asked.Rcx as u32,
                indexed: true,
                eax: asked.DefaultResultRax as u32,
                ebx: asked.DefaultResultRbx as u32,
                ecx: asked.DefaultResultRcx as u32,
                edx: asked.DefaultResultRdx as u32,
            },
            self.policy,
        );
        let answer = [
            (WHvX64RegisterRax, leaf.eax.into()),
            (WHvX64RegisterRbx, leaf.ebx.into()),
            (WHvX64RegisterRcx, leaf.ecx.into()),
            (WHvX64RegisterRdx, leaf.edx.into()),
        ];
        self.answer(state, &answer)
    }

    fn msr(&mut self, state: &WHV_VP_EXIT_CONTEXT, access: &WHV_X64_MSR_ACCESS_CONTEXT) -> Result<(), String> {
        let number = access.MsrNumber;
        // SAFETY: any bytes are a number.
        let write = unsafe { access.AccessInfo.AsUINT32 } & WRITE != 0;
        let read = msr::read(number, self.vm.clocks);
        let known = if write { msr::write_is_known(number) } else { read.known };
        if !known && let Some(suppressed) = self.unknown.allow() {
            let number = format!("{number:#x}");
            tracing::debug!(vcpu = self.index, number, write, suppressed, "a model-specific register that is none");
        }
        if write {
            return self.answer(state, &[]);
        }
        let (low, high) = (read.value & 0xffff_ffff, read.value >> 32);
        self.answer(state, &[(WHvX64RegisterRax, low), (WHvX64RegisterRdx, high)])
    }

    /// Passes an INIT or a start on. The instruction that sent it is over, so there is nothing to step over.
    fn init_sipi(&self, command: u64) {
        let Some((order, audience)) = order(command) else { return };
        for index in (0..self.vm.cpus).filter(|&index| audience.includes(index, self.index)) {
            match order {
                Order::Init => self.vm.seats.init(index, || self.vm.partition.cancel(index)),
                Order::Startup(page) => self.vm.seats.startup(index, page),
            }
        }
    }

    /// Answers one exit.
    fn serve(&mut self, context: &WHV_RUN_VP_EXIT_CONTEXT, bus: &dyn IoBus) -> Served {
        let (state, about) = (&context.VpContext, &context.Anonymous);
        let session = Session { vm: &self.vm, index: self.index, bus };
        let count = |reason| self.vm.counters.count(reason);
        match context.ExitReason {
            WHvRunVpExitReasonMemoryAccess => {
                // SAFETY: the reason says which of them is filled in, here and below.
                let access = unsafe { &about.MemoryAccess };
                mmio::serve(&session, &self.emulator, state, access)?;
            }
            WHvRunVpExitReasonX64IoPortAccess => {
                // SAFETY: as above.
                let access = unsafe { &about.IoPortAccess };
                port::serve(&session, &self.emulator, state, access)?;
            }
            WHvRunVpExitReasonX64Cpuid => {
                count(Reason::Cpuid);
                // SAFETY: as above.
                self.cpuid(state, unsafe { &about.CpuidAccess })?;
            }
            WHvRunVpExitReasonX64MsrAccess => {
                count(Reason::Msr);
                // SAFETY: as above.
                self.msr(state, unsafe { &about.MsrAccess })?;
            }
            // Only of level-triggered interrupts, which no pin of our IOAPIC has; so there is nobody who waits for it.
            WHvRunVpExitReasonX64ApicEoi => count(Reason::ApicEoi),
            WHvRunVpExitReasonX64ApicInitSipiTrap => {
                count(Reason::InitSipi);
                // SAFETY: as above.
                self.init_sipi(unsafe { about.ApicInitSipi.ApicIcr });
            }
            WHvRunVpExitReasonCanceled => count(Reason::Interrupted),
            // With local APICs in the hypervisor it waits there; this is one that nothing can wake.
            WHvRunVpExitReasonX64Halt => return Ok(Some(Exit::Halted)),
            WHvRunVpExitReasonUnrecoverableException => {
                tracing::debug!(registers = %self.dump("triple fault"), "guest resets by a fault");
                return Ok(Some(Exit::Reset));
            }
            WHvRunVpExitReasonInvalidVpRegisterValue => {
                return Err("The hypervisor does not take a register's value".into());
            }
            WHvRunVpExitReasonUnsupportedFeature => {
                // SAFETY: as above.
                let feature = unsafe { about.UnsupportedFeature };
                let (code, parameter) = (feature.FeatureCode, feature.FeatureParameter);
                return Err(format!("The hypervisor cannot do what the guest does ({code}, {parameter:#x})"));
            }
            reason => {
                count(Reason::Other);
                return Err(format!("The hypervisor gave an exit that lighter does not know ({reason:#x})"));
            }
        }
        Ok(None)
    }

    /// One turn: what the seat says, then the guest.
    fn turn(&mut self, context: &mut ExitContext, bus: &dyn IoBus) -> Served {
        match self.vm.seats.next(self.index) {
            Next::Kicked => return Ok(Some(Exit::Kicked)),
            Next::Start(page) => {
                registers::start(&self.vm.partition, self.index, page).map_err(|error| told(&error))?;
                return Ok(None);
            }
            Next::Enter => {}
        }
        let ran = self.vm.partition.run(self.index, context);
        self.vm.seats.left(self.index);
        ran.map_err(|error| told(&error))?;
        self.serve(&context.0, bus)
    }
}

impl Drop for WhpVcpu {
    fn drop(&mut self) {
        self.vm.seats.vacate(self.index);
        self.vm.partition.delete_vcpu(self.index);
    }
}

impl Vcpu for WhpVcpu {
    fn run(&mut self, bus: &dyn IoBus) -> Exit {
        let mut context = ExitContext::default();
        loop {
            match self.turn(&mut context, bus) {
                Ok(None) => {}
                Ok(Some(exit)) => return exit,
                Err(failure) => return Exit::Failed(self.dump(&failure)),
            }
        }
    }
}
