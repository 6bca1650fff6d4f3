//! Running a virtual processor until something is for the VMM. Contract: WHvRunVirtualProcessor. Called by `exports`.

use std::sync::Arc;

use windows_sys::Win32::System::Hypervisor::*;

use crate::access::{DETAILS, EXIT_IO, EXIT_MMIO, Pending, REASON};
use crate::exit::{self, context, registers};
use crate::kvm::ask;
use crate::linux::Errno;
use crate::partition::{Partition, lock};
use crate::result::Result;
use crate::script::script;
use crate::vp::Vp;

const EXIT_HLT: u32 = 5;
const EXIT_SHUTDOWN: u32 = 8;
const EXIT_FAIL_ENTRY: u32 = 9;
const EXIT_IOAPIC_EOI: u32 = 26;
const EXIT_RDMSR: u32 = 29;
const EXIT_WRMSR: u32 = 30;

/// Runs processor `vp` on this thread.
pub fn run(partition: &Arc<Partition>, vp: &Arc<Vp>) -> Result<WHV_RUN_VP_EXIT_CONTEXT> {
    loop {
        let mut seated = vp.sit_to_run();
        // Taken back before looking: what is set after it is seen below, or by KVM.
        vp.page.set_immediate_exit(false);
        if vp.take_cancel() {
            let mut exit = plain(vp, WHvRunVpExitReasonCanceled)?;
            exit.Anonymous.CancelReason = WHV_RUN_VP_CANCELED_CONTEXT { CancelReason: WHvRunVpCancelReasonUser };
            return Ok(exit);
        }
        if let Some(icr) = (vp.index == 0).then(|| lock(&partition.startups).pop_front()).flatten() {
            let mut exit = plain(vp, WHvRunVpExitReasonX64ApicInitSipiTrap)?;
            exit.Anonymous.ApicInitSipi = WHV_X64_APIC_INIT_SIPI_CONTEXT { ApicIcr: icr };
            return Ok(exit);
        }
        if let Some(pending) = &seated.seat.pending {
            return Ok(pending.exit);
        }
        if vp.is_suspended() {
            drop(seated);
            vp.wait_for_start();
            continue;
        }
        match vp.fd.control(ask::RUN, 0) {
            Ok(_) => return leave(partition, vp, &mut seated.seat.pending),
            // Kicked; or an application processor that the guest has just started.
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// An exit that stops between instructions.
fn plain(vp: &Vp, reason: i32) -> Result<WHV_RUN_VP_EXIT_CONTEXT> {
    let (regs, sregs) = registers(vp)?;
    Ok(context(reason, &regs, &sregs, 0))
}

fn leave(partition: &Partition, vp: &Vp, pending: &mut Option<Pending>) -> Result<WHV_RUN_VP_EXIT_CONTEXT> {
    let reason = vp.page.read::<u32>(REASON);
    let stopped = match reason {
        EXIT_IO | EXIT_MMIO => exit::access(partition, vp)?,
        EXIT_RDMSR | EXIT_WRMSR => exit::msr(vp, reason == EXIT_WRMSR)?,
        EXIT_HLT => return plain(vp, WHvRunVpExitReasonX64Halt),
        EXIT_IOAPIC_EOI => {
            let mut exit = plain(vp, WHvRunVpExitReasonX64ApicEoi)?;
            let vector = u32::from(vp.page.read::<u8>(DETAILS));
            exit.Anonymous.ApicEoi = WHV_X64_APIC_EOI_CONTEXT { InterruptVector: vector };
            return Ok(exit);
        }
        EXIT_FAIL_ENTRY => return plain(vp, WHvRunVpExitReasonInvalidVpRegisterValue),
        // A triple fault; and what KVM cannot go on with, for which WHP has no other word.
        _ => {
            if reason != EXIT_SHUTDOWN || script().trace {
                let detail: [u64; 2] = [vp.page.read(DETAILS), vp.page.read(DETAILS + 8)];
                eprintln!("whp stand-in: processor {} stops for KVM's exit {reason} {detail:x?}", vp.index);
            }
            return plain(vp, WHvRunVpExitReasonUnrecoverableException);
        }
    };
    Ok(pending.insert(stopped).exit)
}
