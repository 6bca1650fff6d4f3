//! Has the backend read and write the registers that the instruction may have changed, as the real emulator does. KVM has
//! changed them already, so the same values go back. Used by `serve`.

use std::ffi::c_void;

use windows_sys::Win32::System::Hypervisor::*;

use crate::serve::SUCCESSFUL;

const GET: u32 = 1 << 6;
const SET: u32 = 1 << 7;
/// RAX to R15, RIP, RFLAGS.
const COUNT: u32 = 18;

/// The status that the instruction ends with.
///
/// # Safety
/// The callbacks must be callable with `context`.
pub unsafe fn pass(callbacks: &WHV_EMULATOR_CALLBACKS, context: *const c_void) -> u32 {
    let names: [i32; COUNT as usize] = std::array::from_fn(|at| WHvX64RegisterRax + at as i32);
    let mut values = [WHV_REGISTER_VALUE { Reg64: 0 }; COUNT as usize];
    let Some(get) = callbacks.WHvEmulatorGetVirtualProcessorRegisters else { return GET };
    // SAFETY: the caller vouches for it; both arrays have so many.
    if unsafe { get(context, names.as_ptr(), COUNT, values.as_mut_ptr()) } < 0 {
        return GET;
    }
    let Some(set) = callbacks.WHvEmulatorSetVirtualProcessorRegisters else { return SET };
    // SAFETY: the caller vouches for it; both arrays have so many.
    if unsafe { set(context, names.as_ptr(), COUNT, values.as_ptr()) } < 0 { SET } else { SUCCESSFUL }
}
