//! Who may use something that exists, as Windows tells it. For tests.

use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT,
    SE_KERNEL_OBJECT, SE_OBJECT_TYPE,
};
use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_BACKUP_SEMANTICS;

use super::{Local, take_text};

pub(in super::super) fn dacl_of(object: BorrowedHandle<'_>) -> io::Result<String> {
    ask(object, SE_KERNEL_OBJECT)
}

pub(in super::super) fn dacl_of_file(path: &Path) -> io::Result<String> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)?;
    ask(file.as_handle(), SE_FILE_OBJECT)
}

fn ask(object: BorrowedHandle<'_>, kind: SE_OBJECT_TYPE) -> io::Result<String> {
    let none = ptr::null_mut;
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    let (handle, what) = (object.as_raw_handle(), DACL_SECURITY_INFORMATION);
    // SAFETY: the handle is open, `descriptor` is written to, and the parts of it may be left out.
    let asked = unsafe {
        GetSecurityInfo(handle, kind, what, none(), none(), ptr::null_mut(), ptr::null_mut(), &mut descriptor)
    };
    if asked != 0 {
        return Err(io::Error::from_raw_os_error(asked.cast_signed()));
    }
    let descriptor = Local(descriptor);
    let mut text: *mut u16 = ptr::null_mut();
    // SAFETY: the descriptor is what Windows has just given, `text` is written to, and the length may be left out.
    let converted = unsafe {
        let length = ptr::null_mut();
        ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor.0, SDDL_REVISION_1, what, &mut text, length)
    };
    if converted == 0 { Err(io::Error::last_os_error()) } else { Ok(take_text(text)) }
}
