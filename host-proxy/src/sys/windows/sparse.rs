//! Files with holes. Windows fills a file up to its length unless it is told that the file may be sparse. Called by
//! `daemon::disk` and `doctor`.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::{FILE_STANDARD_INFO, FileStandardInfo, GetFileInformationByHandleEx};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{FILE_ALLOCATED_RANGE_BUFFER, FSCTL_QUERY_ALLOCATED_RANGES, FSCTL_SET_SPARSE};

/// Lets `file` take only the room of what is written to it. A file system that cannot do that says so.
pub fn make_sparse(file: &File) -> io::Result<()> {
    let mut unused = 0;
    // SAFETY: the handle is open as long as `file`, which is not for overlapped calls; there is no input and no output, and
    // `unused` is written to.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_SET_SPARSE,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
            &mut unused,
            ptr::null_mut(),
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether `file` holds no data at all, only holes. `false` also where the file system cannot tell.
pub fn is_hole(file: &File) -> bool {
    let Ok(length) = file.metadata().map(|metadata| metadata.len().min(i64::MAX.cast_unsigned()).cast_signed()) else {
        return false;
    };
    let all = FILE_ALLOCATED_RANGE_BUFFER { FileOffset: 0, Length: length };
    let mut first = FILE_ALLOCATED_RANGE_BUFFER::default();
    // A size of a few words.
    let size = size_of::<FILE_ALLOCATED_RANGE_BUFFER>() as u32;
    let mut told = 0;
    // SAFETY: the handle is open as long as `file`, which is not for overlapped calls; `all` is read, so many bytes of `first`
    // are written at most, and so is `told`. With more ranges than there is room for it fails.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_QUERY_ALLOCATED_RANGES,
            (&raw const all).cast(),
            size,
            (&raw mut first).cast(),
            size,
            &mut told,
            ptr::null_mut(),
        )
    };
    done != 0 && told == 0
}

/// Bytes that the file at `path` really takes on its disk.
pub fn allocated(path: &Path) -> io::Result<u64> {
    // Opened for nothing but the question, which whoever has the file open cannot forbid.
    let file = OpenOptions::new().access_mode(0).open(path)?;
    let mut known = FILE_STANDARD_INFO::default();
    // A size of a few words.
    let size = size_of::<FILE_STANDARD_INFO>() as u32;
    // SAFETY: the handle is open as long as `file`, and so many bytes of `known` are written at most.
    let done =
        unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), FileStandardInfo, (&raw mut known).cast(), size) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(known.AllocationSize.max(0).cast_unsigned())
}
