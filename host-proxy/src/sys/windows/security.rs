//! Who may use what is made here: this user, the administrators and the system, and nobody by inheritance. Called by `endpoint`
//! and `files`, which give it to Windows with what they create.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// What the system allocated for us.
#[derive(Debug)]
struct Local(*mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: it comes from a function whose results are freed so, and nobody else has it.
        unsafe { LocalFree(self.0) };
    }
}

/// A security descriptor for something new.
#[derive(Debug)]
pub(super) struct Descriptor(Local);

// SAFETY: it is memory that nobody changes, and is freed once, from any thread.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// For a pipe, or anything else that has nothing below it.
    pub(super) fn private() -> io::Result<Descriptor> {
        let user = user_sid()?;
        Descriptor::parse(&format!("D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{user})"))
    }

    /// For a folder: what is made in it gets the same (object and container inherit).
    pub(super) fn private_folder() -> io::Result<Descriptor> {
        let user = user_sid()?;
        Descriptor::parse(&format!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{user})"))
    }

    fn parse(text: &str) -> io::Result<Descriptor> {
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero, `descriptor` is written to, and the size may be left out.
        let parsed = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        };
        if parsed == 0 { Err(io::Error::last_os_error()) } else { Ok(Descriptor(Local(descriptor))) }
    }

    /// As functions take it that make things. Valid for as long as this lives; handles of what is made are not inherited.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            // A size of a few words.
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}

/// The user that this process runs as, as `S-1-5-…`.
pub(super) fn user_sid() -> io::Result<String> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the process is this one, and `token` is written to.
    let opened = unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) };
    if opened == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and nobody else has it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // Words, because what is written begins with a pointer. A SID has at most 68 bytes (SECURITY_MAX_SID_SIZE).
    let mut buffer = [0_u64; 32];
    let mut length = 0;
    // SAFETY: the buffer has the size that is said.
    let asked = unsafe {
        let size = size_of_val(&buffer) as u32;
        GetTokenInformation(token.as_raw_handle(), TokenUser, buffer.as_mut_ptr().cast(), size, &mut length)
    };
    if asked == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: for `TokenUser` that is what was written; it is aligned, and the SID that it points to lies behind it.
    sid_text(unsafe { (*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid })
}

/// A SID as text. It must be a valid one.
fn sid_text(sid: *mut c_void) -> io::Result<String> {
    let mut text: *mut u16 = ptr::null_mut();
    // SAFETY: the caller has a SID, and `text` is written to.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(take_text(text))
}

/// A text that the system allocated for us, and is freed here. It must end with a zero.
fn take_text(text: *mut u16) -> String {
    let text = Local(text.cast());
    let start = text.0.cast::<u16>();
    // SAFETY: the text ends with a zero, and lives as long as `text`.
    let characters = unsafe {
        let length = (0..).take_while(|at| *start.add(*at) != 0).count();
        std::slice::from_raw_parts(start, length)
    };
    String::from_utf16_lossy(characters)
}

#[cfg(test)]
pub(super) use told::{dacl_of, dacl_of_file};

/// Who may use something that exists, as text. The product never asks.
#[cfg(test)]
#[path = "security_told.rs"]
mod told;
