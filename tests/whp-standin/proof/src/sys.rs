//! The platform's functions, found at run time as lighter finds them: a program that imports them statically does not even
//! start where the optional feature is off. Used by `machine`.

use std::ffi::c_void;

use windows_sys::Win32::System::Hypervisor::*;
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW};
use windows_sys::core::HRESULT;

macro_rules! functions {
    ($($field:ident = $dll:literal $name:literal ($($kind:ty),*);)*) => {
        /// The functions.
        #[allow(missing_docs)]
        pub struct Api { $(pub $field: unsafe extern "system" fn($($kind),*) -> HRESULT,)* }

        impl Api {
            /// Loads both DLLs from the system's folder.
            pub fn load() -> Self {
                Self { $($field: {
                    let address = function($dll, concat!($name, "\0"));
                    // SAFETY: the name's public page gives this type.
                    unsafe { std::mem::transmute::<*const c_void, unsafe extern "system" fn($($kind),*) -> HRESULT>(address) }
                },)* }
            }
        }
    };
}

type Names = *const i32;

functions! {
    capability = "winhvplatform.dll" "WHvGetCapability" (i32, *mut c_void, u32, *mut u32);
    create = "winhvplatform.dll" "WHvCreatePartition" (*mut isize);
    delete = "winhvplatform.dll" "WHvDeletePartition" (isize);
    set_up = "winhvplatform.dll" "WHvSetupPartition" (isize);
    set_property = "winhvplatform.dll" "WHvSetPartitionProperty" (isize, i32, *const c_void, u32);
    map = "winhvplatform.dll" "WHvMapGpaRange" (isize, *const c_void, u64, u64, i32);
    unmap = "winhvplatform.dll" "WHvUnmapGpaRange" (isize, u64, u64);
    create_vp = "winhvplatform.dll" "WHvCreateVirtualProcessor" (isize, u32, u32);
    run = "winhvplatform.dll" "WHvRunVirtualProcessor" (isize, u32, *mut c_void, u32);
    cancel = "winhvplatform.dll" "WHvCancelRunVirtualProcessor" (isize, u32, u32);
    get = "winhvplatform.dll" "WHvGetVirtualProcessorRegisters" (isize, u32, Names, u32, *mut WHV_REGISTER_VALUE);
    set = "winhvplatform.dll" "WHvSetVirtualProcessorRegisters" (isize, u32, Names, u32, *const WHV_REGISTER_VALUE);
    interrupt = "winhvplatform.dll" "WHvRequestInterrupt" (isize, *const WHV_INTERRUPT_CONTROL, u32);
    translate = "winhvplatform.dll" "WHvTranslateGva" (isize, u32, u64, i32, *mut WHV_TRANSLATE_GVA_RESULT, *mut u64);
    create_emulator = "winhvemulation.dll" "WHvEmulatorCreateEmulator" (*const WHV_EMULATOR_CALLBACKS, *mut *mut c_void);
    destroy_emulator = "winhvemulation.dll" "WHvEmulatorDestroyEmulator" (*mut c_void);
    try_io = "winhvemulation.dll" "WHvEmulatorTryIoEmulation"
        (*const c_void, *const c_void, *const WHV_VP_EXIT_CONTEXT, *const WHV_X64_IO_PORT_ACCESS_CONTEXT, *mut WHV_EMULATOR_STATUS);
    try_mmio = "winhvemulation.dll" "WHvEmulatorTryMmioEmulation"
        (*const c_void, *const c_void, *const WHV_VP_EXIT_CONTEXT, *const WHV_MEMORY_ACCESS_CONTEXT, *mut WHV_EMULATOR_STATUS);
}

fn function(dll: &str, name: &str) -> *const c_void {
    let wide: Vec<u16> = dll.encode_utf16().chain([0]).collect();
    // SAFETY: the name ends with a zero.
    let module = unsafe { LoadLibraryExW(wide.as_ptr(), std::ptr::null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
    assert!(!module.is_null(), "{dll} does not load: {}", std::io::Error::last_os_error());
    // SAFETY: the name ends with a zero; the module is never unloaded.
    let address = unsafe { GetProcAddress(module, name.as_ptr()) };
    address.map_or_else(|| panic!("{dll} has no {name}"), |address| address as *const c_void)
}
