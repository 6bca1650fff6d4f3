//! The functions of the platform, found at run time: the table through which every other file of the backend calls it. The
//! types are those of winhvplatform.h and winhvemulation.h.

use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::core::HRESULT;

use super::library::{Library, Procedure};
use crate::hv::foreign::whp::refusal::Missing;

/// Declares a table and how it is filled from a library, one line a function. `@optional` ones may be missing.
macro_rules! functions {
    (
        $(#[$about:meta])* $table:ident from $library:literal;
        $($field:ident = $name:ident($($argument:ty),*);)*
        $(@optional $maybe:ident = $other:ident($($other_argument:ty),*);)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub struct $table {
            $(#[doc = concat!("`", stringify!($name), "`")] pub $field: unsafe extern "system" fn($($argument),*) -> HRESULT,)*
            $(#[doc = concat!("`", stringify!($other), "`")] pub $maybe: Option<unsafe extern "system" fn($($other_argument),*) -> HRESULT>,)*
        }

        impl $table {
            fn load() -> Result<Self, Missing> {
                let library = Library::load($library)?;
                Ok(Self {
                    $($field: {
                        let found = library.find(terminated(concat!(stringify!($name), "\0")));
                        let found = found.ok_or(Missing::Function(stringify!($name)))?;
                        // SAFETY: a function of this name has this type, by the platform's header.
                        unsafe { std::mem::transmute::<Procedure, unsafe extern "system" fn($($argument),*) -> HRESULT>(found) }
                    },)*
                    $($maybe: library.find(terminated(concat!(stringify!($other), "\0"))).map(|found| {
                        // SAFETY: as above.
                        unsafe { std::mem::transmute::<Procedure, unsafe extern "system" fn($($other_argument),*) -> HRESULT>(found) }
                    }),)*
                })
            }
        }
    };
}

/// A name as C wants it; the macro has put the end there.
fn terminated(name: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default()
}

functions! {
    /// WinHvPlatform.dll: partitions, memory, processors.
    Platform from "WinHvPlatform.dll";
    get_capability = WHvGetCapability(WHV_CAPABILITY_CODE, *mut c_void, u32, *mut u32);
    create_partition = WHvCreatePartition(*mut WHV_PARTITION_HANDLE);
    set_up_partition = WHvSetupPartition(WHV_PARTITION_HANDLE);
    delete_partition = WHvDeletePartition(WHV_PARTITION_HANDLE);
    set_property = WHvSetPartitionProperty(WHV_PARTITION_HANDLE, WHV_PARTITION_PROPERTY_CODE, *const c_void, u32);
    map_memory = WHvMapGpaRange(WHV_PARTITION_HANDLE, *const c_void, u64, u64, WHV_MAP_GPA_RANGE_FLAGS);
    translate = WHvTranslateGva(WHV_PARTITION_HANDLE, u32, u64, WHV_TRANSLATE_GVA_FLAGS, *mut WHV_TRANSLATE_GVA_RESULT, *mut u64);
    create_vcpu = WHvCreateVirtualProcessor(WHV_PARTITION_HANDLE, u32, u32);
    delete_vcpu = WHvDeleteVirtualProcessor(WHV_PARTITION_HANDLE, u32);
    run_vcpu = WHvRunVirtualProcessor(WHV_PARTITION_HANDLE, u32, *mut c_void, u32);
    cancel_vcpu = WHvCancelRunVirtualProcessor(WHV_PARTITION_HANDLE, u32, u32);
    get_registers = WHvGetVirtualProcessorRegisters(WHV_PARTITION_HANDLE, u32, *const WHV_REGISTER_NAME, u32, *mut WHV_REGISTER_VALUE);
    set_registers = WHvSetVirtualProcessorRegisters(WHV_PARTITION_HANDLE, u32, *const WHV_REGISTER_NAME, u32, *const WHV_REGISTER_VALUE);
    request_interrupt = WHvRequestInterrupt(WHV_PARTITION_HANDLE, *const WHV_INTERRUPT_CONTROL, u32);
    @optional create_port = WHvCreateNotificationPort(WHV_PARTITION_HANDLE, *const WHV_NOTIFICATION_PORT_PARAMETERS, HANDLE, *mut *mut c_void);
    @optional delete_port = WHvDeleteNotificationPort(WHV_PARTITION_HANDLE, *const c_void);
}

functions! {
    /// WinHvEmulation.dll: instructions that `decode` does not know.
    Emulation from "WinHvEmulation.dll";
    create = WHvEmulatorCreateEmulator(*const WHV_EMULATOR_CALLBACKS, *mut *mut c_void);
    destroy = WHvEmulatorDestroyEmulator(*const c_void);
    try_mmio = WHvEmulatorTryMmioEmulation(*const c_void, *const c_void, *const WHV_VP_EXIT_CONTEXT, *const WHV_MEMORY_ACCESS_CONTEXT, *mut WHV_EMULATOR_STATUS);
    try_port = WHvEmulatorTryIoEmulation(*const c_void, *const c_void, *const WHV_VP_EXIT_CONTEXT, *const WHV_X64_IO_PORT_ACCESS_CONTEXT, *mut WHV_EMULATOR_STATUS);
}

/// Both tables.
pub struct Api {
    /// Partitions, memory, processors.
    pub platform: Platform,
    /// Instructions.
    pub emulation: Emulation,
}

impl Api {
    /// The functions, found on the first call.
    pub fn get() -> Result<&'static Self, Missing> {
        static API: OnceLock<Result<Api, Missing>> = OnceLock::new();
        let load = || Ok(Self { platform: Platform::load()?, emulation: Emulation::load()? });
        API.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}
