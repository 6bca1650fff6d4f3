//! An access to a port: of one value it is done here, of a string by the platform's emulator. Called by `vcpu`.

use windows_sys::Win32::System::Hypervisor::*;

use super::counters::Reason;
use super::emulator::{Emulator, Session};
use super::mmio::told;
use super::registers::number;
use crate::hv::foreign::whp::decode::Target;

/// `WHV_X64_IO_PORT_ACCESS_INFO`: an `out`; the bytes from bit 1 on; a string instruction.
const WRITE: u32 = 1 << 0;
const SIZE: u32 = 0b111;
const STRING: u32 = 1 << 4;
/// `WHV_VP_EXIT_CONTEXT`: the instruction's length is the lower half of this byte.
const LENGTH: u8 = 0xf;

/// Serves the access; the text says why it cannot be served.
pub fn serve(
    session: &Session<'_>,
    emulator: &Emulator,
    state: &WHV_VP_EXIT_CONTEXT,
    access: &WHV_X64_IO_PORT_ACCESS_CONTEXT,
) -> Result<(), String> {
    // SAFETY: any bytes are a number.
    let info = unsafe { access.AccessInfo.AsUINT32 };
    let write = info & WRITE != 0;
    session.vm.counters.count(if write { Reason::PioWrite } else { Reason::PioRead });
    let (port, length, size) = (access.PortNumber, state._bitfield & LENGTH, info >> 1 & SIZE);
    if info & STRING != 0 || length == 0 || !matches!(size, 1 | 2 | 4) {
        return emulator
            .port(session, state, access)
            .map_err(|text| format!("The guest's access to port {port:#x} cannot be served: {text}"));
    }
    let mut data = access.Rax.to_le_bytes();
    let data = &mut data[..size as usize];
    let after = number(state.Rip.wrapping_add(length.into()));
    let partition = &session.vm.partition;
    let result = if write {
        session.bus.pio_write(port, data);
        partition.put(session.index, &[WHvX64RegisterRip], &[after])
    } else {
        session.bus.pio_read(port, data);
        let target = Target { register: 0, width: size as u8, high: false };
        let value = number(target.after(access.Rax, data));
        partition.put(session.index, &[WHvX64RegisterRax, WHvX64RegisterRip], &[value, after])
    };
    result.map_err(|error| told(&error))
}
