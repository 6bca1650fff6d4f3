//! The platform's own emulator, for instructions that `decode` does not know: it reads the instruction itself, and calls back
//! for memory, ports, registers and page tables. One for each vCPU. Called by `mmio` and `port`.

use std::ffi::c_void;
use std::ptr::null_mut;

use vm_memory::{Bytes, GuestAddress, GuestMemory as _};
use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::core::HRESULT;

use super::api::Api;
use super::counters::Reason;
use super::vm::WhpVm;
use crate::hv::foreign::whp::result::{Refused, check};
use crate::hv::{HvError, IoBus};

const S_OK: HRESULT = 0;
const E_FAIL: HRESULT = 0x8000_4005_u32.cast_signed();
/// `WHV_EMULATOR_STATUS`: it worked.
const SUCCESSFUL: u32 = 1 << 0;
/// `Direction` of an access: to memory, or out of a port.
const WRITE: u8 = 1;

/// Whose instruction is worked on, and where its accesses go.
pub struct Session<'a> {
    /// The machine.
    pub vm: &'a WhpVm,
    /// The vCPU.
    pub index: u8,
    /// Its devices.
    pub bus: &'a dyn IoBus,
}

/// The emulator; destroyed when dropped.
pub struct Emulator {
    api: &'static Api,
    handle: *mut c_void,
}

impl Emulator {
    /// Makes one.
    pub fn new(api: &'static Api) -> Result<Self, HvError> {
        let callbacks = WHV_EMULATOR_CALLBACKS {
            Size: size_of::<WHV_EMULATOR_CALLBACKS>() as u32,
            Reserved: 0,
            WHvEmulatorIoPortCallback: Some(port),
            WHvEmulatorMemoryCallback: Some(memory),
            WHvEmulatorGetVirtualProcessorRegisters: Some(get_registers),
            WHvEmulatorSetVirtualProcessorRegisters: Some(set_registers),
            WHvEmulatorTranslateGvaPage: Some(translate),
        };
        let mut handle = null_mut();
        // SAFETY: the callbacks are read, the handle is written.
        let result = unsafe { (api.emulation.create)(&raw const callbacks, &raw mut handle) };
        check("WHvEmulatorCreateEmulator", result).map(|()| Self { api, handle })
    }

    /// Does what the instruction that accessed memory means, and steps over it.
    pub fn memory(
        &self,
        session: &Session<'_>,
        state: &WHV_VP_EXIT_CONTEXT,
        access: &WHV_MEMORY_ACCESS_CONTEXT,
    ) -> Result<(), String> {
        session.vm.counters.count(Reason::Emulated);
        let mut status = WHV_EMULATOR_STATUS::default();
        let context: *const c_void = (&raw const *session).cast();
        // SAFETY: the contexts are read and the status is written; the callbacks get the session as their context, and are
        // called before this returns.
        let result = unsafe { (self.api.emulation.try_mmio)(self.handle, context, state, access, &raw mut status) };
        outcome(result, status)
    }

    /// Does what the instruction that accessed a port means, and steps over it.
    pub fn port(
        &self,
        session: &Session<'_>,
        state: &WHV_VP_EXIT_CONTEXT,
        access: &WHV_X64_IO_PORT_ACCESS_CONTEXT,
    ) -> Result<(), String> {
        session.vm.counters.count(Reason::Emulated);
        let mut status = WHV_EMULATOR_STATUS::default();
        let context: *const c_void = (&raw const *session).cast();
        // SAFETY: as in `memory`.
        let result = unsafe { (self.api.emulation.try_port)(self.handle, context, state, access, &raw mut status) };
        outcome(result, status)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // SAFETY: the handle is valid and not used after this.
        let result = unsafe { (self.api.emulation.destroy)(self.handle) };
        if let Err(error) = check("WHvEmulatorDestroyEmulator", result) {
            tracing::warn!(%error, "an emulator could not be given back");
        }
    }
}

fn outcome(result: HRESULT, status: WHV_EMULATOR_STATUS) -> Result<(), String> {
    // SAFETY: any bytes are a number.
    let status = unsafe { status.AsUINT32 };
    if result < 0 {
        return Err(format!("the platform's emulator does not know the instruction ({})", Refused(result)));
    }
    if status & SUCCESSFUL == 0 {
        return Err(format!("the platform's emulator did not do the instruction (status {status:#x})"));
    }
    Ok(())
}

/// # Safety
/// `context` is a live [`Session`], as all of the callbacks get it.
unsafe fn session<'a>(context: *const c_void) -> &'a Session<'a> {
    // SAFETY: as the caller promises.
    unsafe { &*context.cast() }
}

/// An access to memory, of which only a part need be outside RAM: the instruction may have two operands.
unsafe extern "system" fn memory(context: *const c_void, access: *mut WHV_EMULATOR_MEMORY_ACCESS_INFO) -> HRESULT {
    // SAFETY: the platform hands on the context, and an access that is ours to fill in until this returns.
    let (session, access) = unsafe { (session(context), &mut *access) };
    let address = GuestAddress(access.GpaAddress);
    let Some(data) = access.Data.get_mut(..usize::from(access.AccessSize)) else { return E_FAIL };
    let ram = session.vm.memory.address_in_range(address);
    let done = match (ram, access.Direction == WRITE) {
        (true, false) => session.vm.memory.read_slice(data, address).is_ok(),
        (true, true) => session.vm.memory.write_slice(data, address).is_ok(),
        (false, false) => {
            session.bus.mmio_read(access.GpaAddress, data);
            true
        }
        (false, true) => {
            session.bus.mmio_write(access.GpaAddress, data);
            true
        }
    };
    if done { S_OK } else { E_FAIL }
}

unsafe extern "system" fn port(context: *const c_void, access: *mut WHV_EMULATOR_IO_ACCESS_INFO) -> HRESULT {
    // SAFETY: as in `memory`.
    let (session, access) = unsafe { (session(context), &mut *access) };
    let mut bytes = access.Data.to_le_bytes();
    let Some(data) = bytes.get_mut(..usize::from(access.AccessSize)) else { return E_FAIL };
    if access.Direction == WRITE {
        session.bus.pio_write(access.Port, data);
    } else {
        session.bus.pio_read(access.Port, data);
        access.Data = u32::from_le_bytes(bytes);
    }
    S_OK
}

unsafe extern "system" fn get_registers(
    context: *const c_void,
    names: *const WHV_REGISTER_NAME,
    count: u32,
    values: *mut WHV_REGISTER_VALUE,
) -> HRESULT {
    // SAFETY: the platform hands on the context, and names and values of which it knows the number.
    unsafe {
        let session = session(context);
        let partition = &session.vm.partition;
        (partition.api().platform.get_registers)(partition.handle(), session.index.into(), names, count, values)
    }
}

unsafe extern "system" fn set_registers(
    context: *const c_void,
    names: *const WHV_REGISTER_NAME,
    count: u32,
    values: *const WHV_REGISTER_VALUE,
) -> HRESULT {
    // SAFETY: as in `get_registers`.
    unsafe {
        let session = session(context);
        let partition = &session.vm.partition;
        (partition.api().platform.set_registers)(partition.handle(), session.index.into(), names, count, values)
    }
}

unsafe extern "system" fn translate(
    context: *const c_void,
    virtual_address: u64,
    flags: WHV_TRANSLATE_GVA_FLAGS,
    result: *mut WHV_TRANSLATE_GVA_RESULT_CODE,
    address: *mut u64,
) -> HRESULT {
    let mut translation = WHV_TRANSLATE_GVA_RESULT::default();
    // SAFETY: the platform hands on the context, and places for the answer.
    unsafe {
        let session = session(context);
        let partition = &session.vm.partition;
        let call = partition.api().platform.translate;
        let said =
            call(partition.handle(), session.index.into(), virtual_address, flags, &raw mut translation, address);
        *result = translation.ResultCode;
        said
    }
}
