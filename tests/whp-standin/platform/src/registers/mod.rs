//! Reading and writing a virtual processor's registers by WHP's names. Contract: WHvGetVirtualProcessorRegisters,
//! WHvSetVirtualProcessorRegisters (an unknown name is WHV_E_INVALID_VP_REGISTER_NAME, and then nothing is changed).
//! Writing any register finishes an instruction that an exit stopped in: see `access`. Used by `exports`.

mod events;
mod float;
mod place;
mod special;

use windows_sys::Win32::Foundation::WHV_E_INVALID_VP_REGISTER_NAME;
use windows_sys::Win32::System::Hypervisor::WHV_REGISTER_VALUE;

use crate::kvm::{self, Fpu, Regs, Sregs, ask};
use crate::result::{Hr, INVALID, Result};
use crate::vp::Vp;
use place::Place;

const UNKNOWN: Hr = Hr(WHV_E_INVALID_VP_REGISTER_NAME);

/// A value of zeros.
fn zero() -> WHV_REGISTER_VALUE {
    // SAFETY: all of the union is plain numbers.
    unsafe { std::mem::zeroed() }
}

/// The low 64 bits.
fn low(value: &WHV_REGISTER_VALUE) -> u64 {
    // SAFETY: every bit pattern is a number, and callers gave all sixteen bytes.
    unsafe { value.Reg64 }
}

fn number(value: u64) -> WHV_REGISTER_VALUE {
    let mut result = zero();
    result.Reg64 = value;
    result
}

fn places(names: &[i32]) -> Result<Vec<Place>> {
    names.iter().map(|&name| Place::of(name).ok_or(UNKNOWN)).collect()
}

/// Reads registers.
pub fn get(vp: &Vp, names: &[i32], values: &mut [WHV_REGISTER_VALUE]) -> Result<()> {
    let places = places(names)?;
    let seated = vp.sit()?;
    // SAFETY: the structure is the request's.
    let mut regs: Regs = unsafe { kvm::get(&vp.fd, ask::GET_REGS) }?;
    if let Some(pending) = &seated.seat.pending {
        regs = pending.before;
    }
    // SAFETY: the structure is the request's.
    let sregs: Sregs = unsafe { kvm::get(&vp.fd, ask::GET_SREGS) }?;
    for (place, value) in places.into_iter().zip(values) {
        *value = match place {
            Place::General(at) => number(regs.general[at]),
            Place::Rip => number(regs.rip),
            Place::Rflags => number(regs.rflags),
            Place::Special(name) => special::get(&sregs, name),
            Place::Msr(index) => number(kvm::read_msr(&vp.fd, index)?.ok_or(UNKNOWN)?),
            // SAFETY: the structure is the request's.
            Place::Float(name) => float::get(&unsafe { kvm::get::<Fpu>(&vp.fd, ask::GET_FPU) }?, name),
            Place::Debug(at) => number(special::debug(vp)?[at]),
            Place::Xcr0 => number(special::xcr0(vp)?),
            Place::Apic(offset) => number(special::apic(vp, offset)?.into()),
            Place::Event(name) => events::get(vp, name)?,
        };
    }
    Ok(())
}

/// Writes registers.
pub fn set(vp: &Vp, names: &[i32], values: &[WHV_REGISTER_VALUE]) -> Result<()> {
    let places = places(names)?;
    let mut seated = vp.sit()?;
    if let Some(pending) = seated.seat.pending.take() {
        pending.discard(vp)?;
    }
    // SAFETY: the structure is the request's.
    let mut regs: Regs = unsafe { kvm::get(&vp.fd, ask::GET_REGS) }?;
    let (mut general, mut specials) = (false, None);
    let mut later = Vec::new();
    for (place, value) in places.into_iter().zip(values) {
        let slot = match place {
            Place::General(at) => &mut regs.general[at],
            Place::Rip => &mut regs.rip,
            Place::Rflags => &mut regs.rflags,
            Place::Special(name) => {
                if specials.is_none() {
                    // SAFETY: the structure is the request's.
                    specials = Some(unsafe { kvm::get::<Sregs>(&vp.fd, ask::GET_SREGS) }?);
                }
                if let Some(sregs) = &mut specials {
                    special::set(sregs, name, value);
                }
                continue;
            }
            other => {
                later.push((other, value));
                continue;
            }
        };
        *slot = low(value);
        general = true;
    }
    // Control registers first: they say what the flags and the pointers may be.
    if let Some(mut sregs) = specials {
        // SAFETY: the structure is the request's.
        unsafe { vp.fd.exchange(ask::SET_SREGS, &mut sregs) }?;
    }
    if general {
        // SAFETY: the structure is the request's.
        unsafe { vp.fd.exchange(ask::SET_REGS, &mut regs) }?;
    }
    later.into_iter().try_for_each(|(place, value)| set_other(vp, place, value))
}

fn set_other(vp: &Vp, place: Place, value: &WHV_REGISTER_VALUE) -> Result<()> {
    match place {
        Place::Msr(index) => {
            if kvm::write_msr(&vp.fd, index, low(value))? {
                Ok(())
            } else {
                Err(INVALID)
            }
        }
        Place::Float(name) => {
            // SAFETY: the structure is the request's.
            let mut fpu: Fpu = unsafe { kvm::get(&vp.fd, ask::GET_FPU) }?;
            float::set(&mut fpu, name, value);
            // SAFETY: the structure is the request's.
            unsafe { vp.fd.exchange(ask::SET_FPU, &mut fpu) }?;
            Ok(())
        }
        Place::Debug(at) => special::set_debug(vp, at, low(value)),
        Place::Xcr0 => special::set_xcr0(vp, low(value)),
        Place::Apic(offset) => special::set_apic(vp, offset, low(value) as u32),
        Place::Event(name) => events::set(vp, name, value),
        Place::General(_) | Place::Rip | Place::Rflags | Place::Special(_) => Ok(()),
    }
}
