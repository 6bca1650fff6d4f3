//! A stand-in for `winhvemulation.dll`, beside the one for `winhvplatform.dll` (whose head says what both are and are not).
//! Contract: the pages "WHvEmulatorCreateEmulator", "WHvEmulatorTryIoEmulation", "WHvEmulatorTryMmioEmulation",
//! "WHV_EMULATOR_CALLBACKS", "WHV_EMULATOR_STATUS".
//!
//! KVM has decoded the instruction already, so nothing is decoded here: its accesses are passed to the callbacks one by one.
//! To be as demanding as the real one, it also translates RIP by the callback for it, and reads and writes the general
//! registers by those. It differs in this: accesses of the same instruction to RAM never reach the memory callback (KVM makes
//! them itself), and it works only on the thread that made the exit.
#![cfg(all(windows, target_arch = "x86_64"))]

mod registers;
mod serve;

use std::ffi::c_void;

use windows_sys::Win32::Foundation::{E_INVALIDARG, S_OK};
use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::core::HRESULT;

use serve::serve;

/// See the public page "WHvEmulatorCreateEmulator".
///
/// # Safety
/// Pointers are as that page says.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "system" fn WHvEmulatorCreateEmulator(
    callbacks: *const WHV_EMULATOR_CALLBACKS,
    emulator: *mut *mut c_void,
) -> HRESULT {
    if callbacks.is_null() || emulator.is_null() {
        return E_INVALIDARG;
    }
    // SAFETY: as the page says.
    let callbacks = unsafe { *callbacks };
    let complete = callbacks.Size as usize == size_of::<WHV_EMULATOR_CALLBACKS>()
        && callbacks.Reserved == 0
        && callbacks.WHvEmulatorIoPortCallback.is_some()
        && callbacks.WHvEmulatorMemoryCallback.is_some()
        && callbacks.WHvEmulatorGetVirtualProcessorRegisters.is_some()
        && callbacks.WHvEmulatorSetVirtualProcessorRegisters.is_some()
        && callbacks.WHvEmulatorTranslateGvaPage.is_some();
    if !complete {
        return E_INVALIDARG;
    }
    // SAFETY: as the page says.
    unsafe { emulator.write(Box::into_raw(Box::new(callbacks)).cast()) };
    S_OK
}

/// See the public page "WHvEmulatorDestroyEmulator".
///
/// # Safety
/// Made by [`WHvEmulatorCreateEmulator`], and not used afterwards.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "system" fn WHvEmulatorDestroyEmulator(emulator: *mut c_void) -> HRESULT {
    if emulator.is_null() {
        return E_INVALIDARG;
    }
    // SAFETY: as above.
    drop(unsafe { Box::from_raw(emulator.cast::<WHV_EMULATOR_CALLBACKS>()) });
    S_OK
}

/// See the public page "WHvEmulatorTryIoEmulation".
///
/// # Safety
/// Pointers are as that page says.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "system" fn WHvEmulatorTryIoEmulation(
    emulator: *const c_void,
    context: *const c_void,
    processor: *const WHV_VP_EXIT_CONTEXT,
    _instruction: *const WHV_X64_IO_PORT_ACCESS_CONTEXT,
    status: *mut WHV_EMULATOR_STATUS,
) -> HRESULT {
    // SAFETY: as the page says.
    unsafe { attempt(emulator, context, processor, status, true) }
}

/// See the public page "WHvEmulatorTryMmioEmulation".
///
/// # Safety
/// Pointers are as that page says.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "system" fn WHvEmulatorTryMmioEmulation(
    emulator: *const c_void,
    context: *const c_void,
    processor: *const WHV_VP_EXIT_CONTEXT,
    _instruction: *const WHV_MEMORY_ACCESS_CONTEXT,
    status: *mut WHV_EMULATOR_STATUS,
) -> HRESULT {
    // SAFETY: as the page says.
    unsafe { attempt(emulator, context, processor, status, false) }
}

/// # Safety
/// Pointers are as the pages say.
unsafe fn attempt(
    emulator: *const c_void,
    context: *const c_void,
    processor: *const WHV_VP_EXIT_CONTEXT,
    status: *mut WHV_EMULATOR_STATUS,
    port: bool,
) -> HRESULT {
    if emulator.is_null() || processor.is_null() || status.is_null() {
        return E_INVALIDARG;
    }
    // SAFETY: as the pages say; the emulator is ours.
    let (callbacks, rip) = unsafe { (&*emulator.cast::<WHV_EMULATOR_CALLBACKS>(), (*processor).Rip) };
    // SAFETY: the callbacks are the backend's, and the context is what it wants them to be given.
    let result = unsafe { serve(callbacks, context, rip, port) };
    // SAFETY: as the pages say.
    unsafe { (*status).AsUINT32 = result };
    S_OK
}
