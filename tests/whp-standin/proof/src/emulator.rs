//! The emulator with callbacks that write down what they are asked: reads give 0x5a in every byte. Used by `scenes`.

use std::ffi::c_void;
use std::sync::Mutex;

use windows_sys::Win32::System::Hypervisor::*;

use crate::machine::{Machine, ok};

/// What the callbacks are given.
pub struct Context<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The processor.
    pub index: u32,
    /// Accesses in order, in words.
    pub log: Mutex<Vec<String>>,
}

/// The emulator of one processor.
pub struct Emulator<'a> {
    /// Its context.
    pub context: Context<'a>,
    handle: *mut c_void,
}

impl<'a> Emulator<'a> {
    /// Makes it.
    pub fn new(machine: &'a Machine, index: u32) -> Self {
        let callbacks = WHV_EMULATOR_CALLBACKS {
            Size: size_of::<WHV_EMULATOR_CALLBACKS>() as u32,
            Reserved: 0,
            WHvEmulatorIoPortCallback: Some(port),
            WHvEmulatorMemoryCallback: Some(memory),
            WHvEmulatorGetVirtualProcessorRegisters: Some(get),
            WHvEmulatorSetVirtualProcessorRegisters: Some(set),
            WHvEmulatorTranslateGvaPage: Some(translate),
        };
        let mut handle = std::ptr::null_mut();
        // SAFETY: as the page says.
        ok("create emulator", unsafe { (machine.api.create_emulator)(&callbacks, &mut handle) });
        Self { context: Context { machine, index, log: Mutex::default() }, handle }
    }

    /// Emulates the instruction of an access exit.
    pub fn emulate(&self, exit: &WHV_RUN_VP_EXIT_CONTEXT) {
        let mut status = WHV_EMULATOR_STATUS { AsUINT32: 0 };
        let (api, context) = (&self.context.machine.api, (&raw const self.context).cast());
        // SAFETY: as the pages say; the exit's reason tells which context it has.
        let result = unsafe {
            if exit.ExitReason == WHvRunVpExitReasonMemoryAccess {
                (api.try_mmio)(self.handle, context, &exit.VpContext, &exit.Anonymous.MemoryAccess, &mut status)
            } else {
                (api.try_io)(self.handle, context, &exit.VpContext, &exit.Anonymous.IoPortAccess, &mut status)
            }
        };
        ok("emulate", result);
        // SAFETY: any bits are a number.
        assert_eq!(unsafe { status.AsUINT32 }, 1, "emulator's status");
    }

    /// Notes an access that the caller has served.
    pub fn note(&self, line: String) {
        self.context.note(line);
    }

    /// What was accessed so far.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.context.log.lock().expect("no callback panics"))
    }
}

impl Context<'_> {
    fn note(&self, line: String) {
        self.log.lock().expect("no callback panics").push(line);
    }
}

impl Drop for Emulator<'_> {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        ok("destroy emulator", unsafe { (self.context.machine.api.destroy_emulator)(self.handle) });
    }
}

/// # Safety
/// `context` is a [`Context`].
unsafe fn context<'a>(context: *const c_void) -> &'a Context<'a> {
    // SAFETY: as above.
    unsafe { &*context.cast::<Context>() }
}

unsafe extern "system" fn port(at: *const c_void, access: *mut WHV_EMULATOR_IO_ACCESS_INFO) -> i32 {
    // SAFETY: the emulator gives back what it was given, and a valid access.
    let (context, access) = unsafe { (context(at), &mut *access) };
    if access.Direction == 1 {
        context.note(format!("out {:#x} size {} = {:#x}", access.Port, access.AccessSize, access.Data));
    } else {
        context.note(format!("in {:#x} size {}", access.Port, access.AccessSize));
        access.Data = 0x5a5a_5a5a;
    }
    0
}

unsafe extern "system" fn memory(at: *const c_void, access: *mut WHV_EMULATOR_MEMORY_ACCESS_INFO) -> i32 {
    // SAFETY: the emulator gives back what it was given, and a valid access.
    let (context, access) = unsafe { (context(at), &mut *access) };
    let data = &mut access.Data[..access.AccessSize.into()];
    if access.Direction == 1 {
        context.note(format!("write {:#x} = {data:x?}", access.GpaAddress));
    } else {
        context.note(format!("read {:#x} size {}", access.GpaAddress, access.AccessSize));
        data.fill(0x5a);
    }
    0
}

unsafe extern "system" fn get(
    at: *const c_void,
    names: *const i32,
    count: u32,
    values: *mut WHV_REGISTER_VALUE,
) -> i32 {
    // SAFETY: the emulator gives back what it was given, and arrays of `count`.
    unsafe {
        let context = context(at);
        (context.machine.api.get)(context.machine.handle, context.index, names, count, values)
    }
}

unsafe extern "system" fn set(
    at: *const c_void,
    names: *const i32,
    count: u32,
    values: *const WHV_REGISTER_VALUE,
) -> i32 {
    // SAFETY: the emulator gives back what it was given, and arrays of `count`.
    unsafe {
        let context = context(at);
        (context.machine.api.set)(context.machine.handle, context.index, names, count, values)
    }
}

unsafe extern "system" fn translate(at: *const c_void, gva: u64, flags: i32, code: *mut i32, gpa: *mut u64) -> i32 {
    let mut result = WHV_TRANSLATE_GVA_RESULT { ResultCode: 0, Reserved: 0 };
    // SAFETY: the emulator gives back what it was given, and places for both results.
    unsafe {
        let context = context(at);
        let done = (context.machine.api.translate)(context.machine.handle, context.index, gva, flags, &mut result, gpa);
        *code = result.ResultCode;
        done
    }
}
