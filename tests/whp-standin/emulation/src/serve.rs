//! Serves the accesses of one instruction through a backend's callbacks. Used by `lib`.

use std::ffi::c_void;

use windows_sys::Win32::System::Hypervisor::*;

use crate::registers;

/// Bits of `WHV_EMULATOR_STATUS`.
pub const SUCCESSFUL: u32 = 1;
/// The instruction is not what was asked for, or the hypervisor failed.
pub const INTERNAL: u32 = 1 << 1;
const PORT: u32 = 1 << 2;
const MEMORY: u32 = 1 << 3;
const TRANSLATE: u32 = 1 << 4;

/// As the other DLL hands it over.
#[repr(C)]
#[derive(Default)]
struct StandinAccess {
    address: u64,
    data: [u8; 8],
    size: u8,
    port: u8,
    write: u8,
    reserved: [u8; 5],
}

#[link(name = "winhvplatform", kind = "raw-dylib")]
unsafe extern "system" {
    fn StandinPeekAccess(access: *mut StandinAccess) -> i32;
    fn StandinServedAccess(data: *const [u8; 8]) -> i32;
}

/// The status that the instruction ends with.
///
/// # Safety
/// The callbacks must be callable with `context`.
pub unsafe fn serve(callbacks: &WHV_EMULATOR_CALLBACKS, context: *const c_void, rip: u64, port: bool) -> u32 {
    let Some(translate) = callbacks.WHvEmulatorTranslateGvaPage else { return INTERNAL };
    let (mut code, mut page) = (0, 0);
    // SAFETY: the caller vouches for it.
    let done = unsafe { translate(context, rip & !0xfff, WHvTranslateGvaFlagValidateExecute, &mut code, &mut page) };
    // The page of an instruction that KVM finished already may be gone; that the backend can be asked is what counts.
    if done < 0 {
        return TRANSLATE;
    }
    loop {
        let mut access = StandinAccess::default();
        // SAFETY: a place for one.
        if unsafe { StandinPeekAccess(&mut access) } != 1 || (access.port == 1) != port {
            return INTERNAL;
        }
        // SAFETY: the caller vouches for it.
        let served =
            unsafe { if port { io(callbacks, context, &mut access) } else { memory(callbacks, context, &mut access) } };
        if !served {
            return if port { PORT } else { MEMORY };
        }
        // SAFETY: eight bytes.
        match unsafe { StandinServedAccess(&access.data) } {
            1 => {}
            // SAFETY: the caller vouches for it.
            0 => return unsafe { registers::pass(callbacks, context) },
            _ => return INTERNAL,
        }
    }
}

unsafe fn io(callbacks: &WHV_EMULATOR_CALLBACKS, context: *const c_void, access: &mut StandinAccess) -> bool {
    let Some(callback) = callbacks.WHvEmulatorIoPortCallback else { return false };
    let [a, b, c, d, ..] = access.data;
    let mut info = WHV_EMULATOR_IO_ACCESS_INFO {
        Direction: access.write,
        Port: access.address as u16,
        AccessSize: access.size.into(),
        Data: u32::from_le_bytes([a, b, c, d]),
    };
    // SAFETY: the caller vouches for it.
    let done = unsafe { callback(context, &mut info) };
    access.data[..4].copy_from_slice(&info.Data.to_le_bytes());
    done >= 0
}

unsafe fn memory(callbacks: &WHV_EMULATOR_CALLBACKS, context: *const c_void, access: &mut StandinAccess) -> bool {
    let Some(callback) = callbacks.WHvEmulatorMemoryCallback else { return false };
    let mut info = WHV_EMULATOR_MEMORY_ACCESS_INFO {
        GpaAddress: access.address,
        Direction: access.write,
        AccessSize: access.size,
        Data: access.data,
    };
    // SAFETY: the caller vouches for it.
    let done = unsafe { callback(context, &mut info) };
    access.data = info.Data;
    done >= 0
}
