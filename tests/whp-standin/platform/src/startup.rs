//! INIT and SIPI towards application processors. Contract: the page "WHV_EXTENDED_VM_EXITS" (X64ApicInitSipiExitTrap) and
//! WHV_X64_APIC_INIT_SIPI_CONTEXT: WHP hands both to the VMM, which starts the processor itself. KVM's local APICs act on
//! them in the kernel and exit to nobody. So a thread watches the processors that wait for their start, and what KVM did to
//! one becomes an exit of processor 0 afterwards; the processor does not run until the VMM clears its `StartupSuspend`. A VMM
//! may run it before: that waits, and is ended by a cancellation.
//! Used by `vp`, `run` and `registers`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::exit::registers;
use crate::kvm::ask;
use crate::partition::{Partition, lock};
use crate::result::Result;
use crate::script::script;
use crate::vp::Vp;

/// `KVM_MP_STATE_RUNNABLE`.
pub const RUNNABLE: u32 = 0;
/// `KVM_MP_STATE_UNINITIALIZED`: waits for INIT.
pub const UNINITIALIZED: u32 = 1;
/// `KVM_MP_STATE_INIT_RECEIVED`: waits for SIPI.
const INIT_RECEIVED: u32 = 2;
/// `KVM_MP_STATE_HALTED`.
pub const HALTED: u32 = 3;

/// Interrupt command register: assert, and the delivery modes.
const ASSERT: u64 = 1 << 14;
const INIT: u64 = 5 << 8;
const SIPI: u64 = 6 << 8;

/// How often the processors are looked at: a guest waits 10 ms or more between its tries.
const PERIOD: Duration = Duration::from_millis(1);

/// What a processor is doing. Asking lets KVM act on an INIT or SIPI that has come.
pub fn mp_state(vp: &Vp) -> Result<u32> {
    let mut state = 0u32;
    // SAFETY: `struct kvm_mp_state` is one such number.
    unsafe { vp.fd.exchange(ask::GET_MP_STATE, &mut state) }?;
    Ok(state)
}

/// Makes it do something else.
pub fn set_mp_state(vp: &Vp, mut state: u32) -> Result<()> {
    // SAFETY: `struct kvm_mp_state` is one such number.
    unsafe { vp.fd.exchange(ask::SET_MP_STATE, &mut state) }?;
    Ok(())
}

/// Watches processor `index` until it was told that it is to start, or is gone.
pub fn watch(partition: &Arc<Partition>, index: u32) {
    let partition = Arc::downgrade(partition);
    std::thread::spawn(move || {
        let mut seen = UNINITIALIZED;
        while look(&partition, index, &mut seen) == Some(false) {
            std::thread::sleep(PERIOD);
        }
    });
}

/// Whether the processor is started; `None`: it is gone.
fn look(partition: &Weak<Partition>, index: u32, seen: &mut u32) -> Option<bool> {
    let partition = partition.upgrade()?;
    let vp = partition.vp(index).ok()?;
    let state = mp_state(&vp).ok()?;
    if !vp.is_suspended() {
        // The VMM started it without being told.
        return Some(true);
    }
    if state == *seen {
        return Some(false);
    }
    let target = u64::from(index) << 56 | ASSERT;
    let mut told = Vec::new();
    if *seen == UNINITIALIZED {
        told.push(target | INIT);
    }
    let started = state != INIT_RECEIVED;
    if started {
        let (_, sregs) = registers(&vp).ok()?;
        told.push(target | SIPI | u64::from(sregs.cs.selector >> 8));
    }
    *seen = state;
    if script().trace {
        eprintln!("whp stand-in: processor {index} got {told:x?}");
    }
    lock(&partition.startups).extend(told);
    if let Ok(first) = partition.vp(0) {
        first.interrupt();
    }
    Some(started)
}
