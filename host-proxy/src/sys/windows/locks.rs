//! Locks on files, and what becomes of a lock's file. Windows locks ranges of bytes, and nobody else may read or write what is
//! locked: the byte that stands for the file is behind every content, so that who has signed a lock can be read while it is held.
//! Called by `lock`, and by `cli::logs` for [`is_at`].
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, ERROR_IO_PENDING, ERROR_LOCK_VIOLATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_ID_INFO, FileIdInfo,
    GetFileInformationByHandle, GetFileInformationByHandleEx, LOCK_FILE_FLAGS, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

/// The locked byte's offset: a file's last byte can be nowhere behind it, as offsets have a sign.
const PLACE: u64 = i64::MAX as u64 - 1;

/// Locks `file` if nobody has; whether that worked.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match place(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY) {
        Err(error) if is(&error, &[ERROR_LOCK_VIOLATION, ERROR_IO_PENDING]) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Locks `file`, however long that takes.
pub fn lock(file: &File) -> io::Result<()> {
    place(file, LOCKFILE_EXCLUSIVE_LOCK)
}

fn place(file: &File, flags: LOCK_FILE_FLAGS) -> io::Result<()> {
    let mut place = OVERLAPPED::default();
    place.Anonymous.Anonymous.Offset = PLACE as u32;
    place.Anonymous.Anonymous.OffsetHigh = (PLACE >> 32) as u32;
    // SAFETY: the handle is open as long as `file`, which the standard library opened for calls that return when they are done,
    // so nobody has `place` behind this one.
    let locked = unsafe { LockFileEx(file.as_raw_handle(), flags, 0, 1, 0, &mut place) };
    if locked == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether an `error` of opening a lock's file may only mean that the file is removed and somebody still has it open: then it
/// keeps its name and cannot be opened, where the file system does not take names away at once.
pub fn may_be_going(error: &io::Error) -> bool {
    is(error, &[ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING])
}

fn is(error: &io::Error, numbers: &[u32]) -> bool {
    error.raw_os_error().is_some_and(|number| numbers.contains(&number.cast_unsigned()))
}

/// Whether `path` still names the open `file`.
pub fn is_at(file: &File, path: &Path) -> bool {
    // Opened for nothing but the question, which whoever has the file open cannot forbid, and without following a link.
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    let named = OpenOptions::new().access_mode(0).custom_flags(flags).open(path);
    named.is_ok_and(|named| matches!((identity(file), identity(&named)), (Ok(one), Ok(other)) if one == other))
}

/// Which file of which volume it is: in 16 bytes, or in 8 where the volume's file system knows no more.
fn identity(file: &File) -> io::Result<(u64, [u8; 16])> {
    let mut id = FILE_ID_INFO::default();
    // A size of a few words.
    let length = size_of::<FILE_ID_INFO>() as u32;
    // SAFETY: the handle is open as long as `file`, and so many bytes of `id` are written at most.
    if unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), FileIdInfo, (&raw mut id).cast(), length) } != 0 {
        return Ok((id.VolumeSerialNumber, id.FileId.Identifier));
    }
    let mut known = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open as long as `file`, and `known` is written to.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut known) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let index = u128::from(known.nFileIndexHigh) << 32 | u128::from(known.nFileIndexLow);
    Ok((known.dwVolumeSerialNumber.into(), index.to_le_bytes()))
}

/// Removes a held lock's file, if it is still the one at `path`.
pub fn remove_lock_file(file: &File, path: &Path) {
    if is_at(file, path) {
        // An unlocked file that stays is only litter.
        let _ = fs::remove_file(path);
    }
}
