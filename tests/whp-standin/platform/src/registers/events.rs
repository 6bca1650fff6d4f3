//! Events that wait for delivery, interrupt shadow, and whether a processor waits for its start or in a halt. Contract:
//! WHV_X64_PENDING_INTERRUPTION_REGISTER, WHV_X64_PENDING_EXCEPTION_EVENT, WHV_X64_INTERRUPT_STATE_REGISTER,
//! WHV_INTERNAL_ACTIVITY_REGISTER. Used by `registers`.

use windows_sys::Win32::System::Hypervisor::*;

use super::{UNKNOWN, low, number};
use crate::kvm::{self, Events, ask};
use crate::result::Result;
use crate::startup::{HALTED, RUNNABLE, UNINITIALIZED, mp_state, set_mp_state};
use crate::vp::Vp;

/// `KVM_VCPUEVENT_VALID_SHADOW`.
const WITH_SHADOW: u32 = 4;
const STARTUP_SUSPEND: u64 = 1;
const HALT_SUSPEND: u64 = 2;
/// Kinds of a pending interruption.
const NMI: u64 = 2;
const EXCEPTION: u64 = 3;

fn events(vp: &Vp) -> Result<Events> {
    // SAFETY: the structure is the request's.
    Ok(unsafe { kvm::get(&vp.fd, ask::GET_VCPU_EVENTS) }?)
}

/// Reads by name.
#[expect(non_upper_case_globals, reason = "Windows' names")]
pub fn get(vp: &Vp, name: i32) -> Result<WHV_REGISTER_VALUE> {
    let value = match name {
        WHvRegisterInternalActivityState => {
            let halted = mp_state(vp).is_ok_and(|state| state == HALTED);
            (u64::from(vp.is_suspended()) * STARTUP_SUSPEND) | (u64::from(halted) * HALT_SUSPEND)
        }
        WHvRegisterInterruptState => {
            let events = events(vp)?;
            u64::from(events.interrupt_shadow != 0) | u64::from(events.nmi_masked != 0) << 1
        }
        WHvRegisterPendingInterruption => {
            let events = events(vp)?;
            let pending = |kind: u64, vector: u8| 1 | kind << 1 | u64::from(vector) << 16;
            if events.exception_injected != 0 {
                pending(EXCEPTION, events.exception_nr) | u64::from(events.exception_error_code) << 32
            } else if events.nmi_injected != 0 {
                pending(NMI, 2)
            } else if events.interrupt_injected != 0 {
                pending(0, events.interrupt_nr)
            } else {
                0
            }
        }
        // Local APICs deliver by themselves, so nobody has a use for interrupt windows; an event given is in the other.
        _ => 0,
    };
    Ok(number(value))
}

/// Writes by name.
#[expect(non_upper_case_globals, reason = "Windows' names")]
pub fn set(vp: &Vp, name: i32, value: &WHV_REGISTER_VALUE) -> Result<()> {
    let bits = low(value);
    if name == WHvRegisterInternalActivityState {
        let suspended = bits & STARTUP_SUSPEND != 0;
        let halted = bits & HALT_SUSPEND != 0;
        vp.suspend(suspended);
        let state = if suspended {
            UNINITIALIZED
        } else if halted {
            HALTED
        } else {
            RUNNABLE
        };
        // Without local APICs KVM has one state only, which is the one that is wanted.
        return set_mp_state(vp, state).or_else(|error| if state == RUNNABLE { Ok(()) } else { Err(error) });
    }
    let mut events = events(vp)?;
    let error = (bits >> 32) as u32;
    match name {
        WHvRegisterInterruptState => {
            events.flags |= WITH_SHADOW;
            events.interrupt_shadow = u8::from(bits & 1 != 0);
            events.nmi_masked = u8::from(bits & 2 != 0);
        }
        WHvRegisterPendingInterruption => {
            let (pending, kind, vector) = (bits & 1 != 0, bits >> 1 & 7, (bits >> 16) as u8);
            events.exception_injected = u8::from(pending && kind == EXCEPTION);
            events.nmi_injected = u8::from(pending && kind == NMI);
            events.interrupt_injected = u8::from(pending && kind == 0);
            (events.exception_nr, events.interrupt_nr) = (vector, vector);
            (events.exception_has_error_code, events.exception_error_code) = ((bits >> 4 & 1) as u8, error);
        }
        WHvRegisterPendingEvent if bits >> 1 & 7 == 0 => {
            events.exception_injected = (bits & 1) as u8;
            events.exception_nr = (bits >> 16) as u8;
            (events.exception_has_error_code, events.exception_error_code) = ((bits >> 8 & 1) as u8, error);
        }
        _ => return Err(UNKNOWN),
    }
    // SAFETY: the structure is the request's.
    unsafe { vp.fd.exchange(ask::SET_VCPU_EVENTS, &mut events) }?;
    Ok(())
}
