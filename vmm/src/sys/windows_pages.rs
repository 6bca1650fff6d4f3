//! Pages of memory by `DiscardVirtualMemory`.
//!
//! Guest memory is committed by `VirtualAlloc`, and a partition's mapping names it by its address in this process: it "sets a
//! region in the caller's process as the backing memory for that range" (Microsoft's page on `WHvMapGpaRange`). So the region
//! must stay committed, or the mapping would have nothing behind it, and `VirtualFree` is no way. `DiscardVirtualMemory` keeps
//! it so, as its page says: "without decommitting the memory"; "discarding memory may give physical RAM back to the system"; and
//! "when the region of memory is again accessed by the application, the backing RAM is restored, and the contents of the memory
//! is undefined". No page says in so many words what happens when it is the guest that accesses it. But mapped memory is pinned
//! only for who asks for it (`WHvAdviseGpaRange` with `WHvAdviseGpaRangeCodePin`, which we never do), so that a partition has to
//! bear it that pages behind its mapping go and come.
#![allow(unsafe_code)] // The system is told of memory by its address.

use std::ffi::c_void;
use std::io;
use std::sync::OnceLock;

use vm_memory::VolatileSlice;
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};

use super::Pages;

/// `DiscardVirtualMemory` of memoryapi.h: first address and bytes, both of whole pages; returns an error's number.
type Discard = unsafe extern "system" fn(*mut c_void, usize) -> u32;

/// See [`Pages`]. What the pages hold until they are written is undefined.
pub(crate) fn pages() -> Option<Pages> {
    function().map(|_| Pages { size, discard })
}

/// The function, if it is there: it came with an update of Windows 8.1, and Wine 8 lacks it. One that is named in the program's
/// imports would keep the whole program from starting, or end it when called.
fn function() -> Option<Discard> {
    static FOUND: OnceLock<Option<Discard>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let library: Vec<u16> = "kernel32.dll\0".encode_utf16().collect();
        // SAFETY: the name is terminated. This library is part of every process for as long as that lives.
        let library = unsafe { GetModuleHandleW(library.as_ptr()) };
        if library.is_null() {
            return None;
        }
        // SAFETY: the library is loaded, and the name is terminated.
        let found = unsafe { GetProcAddress(library, c"DiscardVirtualMemory".as_ptr().cast()) }?;
        // SAFETY: a function of this name has this type, by the system's header.
        Some(unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, Discard>(found) })
    })
}

fn size() -> usize {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: the structure is written, and nothing else.
    unsafe { GetSystemInfo(&raw mut info) };
    info.dwPageSize as usize
}

fn discard(pages: &VolatileSlice) -> io::Result<()> {
    let Some(function) = function() else { return Err(io::ErrorKind::Unsupported.into()) };
    let start = pages.ptr_guard_mut().as_ptr();
    // SAFETY: the range is mapped while `pages` is borrowed, and stays so: the call takes contents away and no addresses. What
    // lies behind a volatile slice changes at any time, so that no reference to it can be surprised.
    match unsafe { function(start.cast(), pages.len()) } {
        ERROR_SUCCESS => Ok(()),
        error => Err(io::Error::from_raw_os_error(error as i32)),
    }
}
