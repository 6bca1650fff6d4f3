//! A library of Windows that may not be there, loaded at run time: one that is named in the program's imports would keep the
//! whole program from starting where the platform is off. Called by `api`.

use std::ffi::CStr;

use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW};

use crate::hv::foreign::whp::refusal::Missing;

/// A function of no particular type.
pub type Procedure = unsafe extern "system" fn() -> isize;

/// A loaded library. It is never unloaded, so that what is found in it stays.
pub struct Library {
    module: HMODULE,
}

impl Library {
    /// Loads `name` from the system's own folder and from nowhere else.
    pub fn load(name: &'static str) -> Result<Self, Missing> {
        let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
        // SAFETY: the name is terminated, and the library is one of Windows', whose initialisation is safe at any time.
        let module = unsafe { LoadLibraryExW(wide.as_ptr(), std::ptr::null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
        if module.is_null() {
            tracing::debug!(name, error = %std::io::Error::last_os_error(), "a library cannot be loaded");
            return Err(Missing::Library(name));
        }
        Ok(Self { module })
    }

    /// Looks for a function.
    pub fn find(&self, name: &CStr) -> Option<Procedure> {
        // SAFETY: the library is loaded, and the name is terminated.
        unsafe { GetProcAddress(self.module, name.as_ptr().cast()) }
    }
}
