//! An access to a device's registers in memory: a plain move is done here, anything else by the platform's emulator. Called by
//! `vcpu`.

use windows_sys::Win32::System::Hypervisor::*;

use super::counters::Reason;
use super::emulator::{Emulator, Session};
use super::registers::{low, number};
use crate::hv::HvError;
use crate::hv::foreign::whp::decode::{Move, Way, decode};

/// `WHV_MEMORY_ACCESS_INFO`: the kind of access.
const KIND: u32 = 0b11;
/// `WHV_X64_VP_EXECUTION_STATE`: long mode is active.
const LONG_MODE: u16 = 1 << 4;
/// Attributes of a code segment: it is of 64-bit code.
const CODE_64: u16 = 1 << 13;

/// Serves the access; the text says why it cannot be served.
pub fn serve(
    session: &Session<'_>,
    emulator: &Emulator,
    state: &WHV_VP_EXIT_CONTEXT,
    access: &WHV_MEMORY_ACCESS_CONTEXT,
) -> Result<(), String> {
    // SAFETY: any bytes are a number.
    let kind = unsafe { access.AccessInfo.AsUINT32 } & KIND;
    let store = match kind.cast_signed() {
        WHvMemoryAccessRead => false,
        WHvMemoryAccessWrite => true,
        _ => return Err(format!("The guest executes what is no memory, at {:#x}", access.Gpa)),
    };
    session.vm.counters.count(if store { Reason::MmioWrite } else { Reason::MmioRead });
    let given = usize::from(access.InstructionByteCount).min(access.InstructionBytes.len());
    let found = is_64_bit(state).then(|| decode(&access.InstructionBytes[..given])).flatten();
    match found.filter(|found| store == !matches!(found.way, Way::Load(_))) {
        Some(found) => perform(session, state.Rip, access.Gpa, found).map_err(|error| told(&error)),
        None => emulator.memory(session, state, access).map_err(|text| {
            let bytes = &access.InstructionBytes[..given];
            format!("The guest's access to {:#x} cannot be served: {text}, bytes {bytes:02x?}", access.Gpa)
        }),
    }
}

fn is_64_bit(state: &WHV_VP_EXIT_CONTEXT) -> bool {
    // SAFETY: any bytes are a number.
    unsafe { state.ExecutionState.AsUINT16 & LONG_MODE != 0 && state.Cs.Anonymous.Attributes & CODE_64 != 0 }
}

/// Does the move and steps over it.
fn perform(session: &Session<'_>, rip: u64, address: u64, found: Move) -> Result<(), HvError> {
    let partition = &session.vm.partition;
    // The numbers of registers in instructions are the platform's, too.
    let name = |register: u8| WHvX64RegisterRax + WHV_REGISTER_NAME::from(register);
    let held = |register| partition.get(session.index, [name(register)]).map(|[value]| low(value));
    let after = number(rip.wrapping_add(found.length.into()));
    let width = usize::from(found.width);
    let bytes = match found.way {
        Way::Load(target) => {
            let mut data = [0; 8];
            session.bus.mmio_read(address, &mut data[..width]);
            let before = if target.width < 4 { held(target.register)? } else { 0 };
            let value = number(target.after(before, &data[..width]));
            return partition.put(session.index, &[name(target.register), WHvX64RegisterRip], &[value, after]);
        }
        Way::Store(source) => source.bytes(held(source.register)?),
        Way::StoreImmediate(value) => value.to_le_bytes(),
    };
    session.bus.mmio_write(address, &bytes[..width]);
    partition.put(session.index, &[WHvX64RegisterRip], &[after])
}

/// An error with what is behind it, in one line.
pub fn told(error: &HvError) -> String {
    format!("{error} ({})", error.source)
}
