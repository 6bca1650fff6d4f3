//! The calls of Windows' kernel that the backend is made of, each with memory of the right size behind it. Names are one step
//! from a handle, and no reparse point is followed unless that is asked for.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem::{MaybeUninit, offset_of, size_of, size_of_val};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FILE_OPEN_BY_FILE_ID, FILE_OPEN_REPARSE_POINT, FILE_RENAME_INFORMATION,
    FILE_SYNCHRONOUS_IO_NONALERT, FileFsFullSizeInformation, NtCreateFile, NtQueryVolumeInformationFile,
    NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError, UNICODE_STRING};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO, FILE_DISPOSITION_INFO,
    FILE_DISPOSITION_INFO_EX, FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_STANDARD_INFO, FileAttributeTagInfo, FileBasicInfo, FileDispositionInfo,
    FileDispositionInfoEx, FileIdInfo, FileStandardInfo, GetFileInformationByHandle, GetFileInformationByHandleEx,
    GetFinalPathNameByHandleW, GetVolumeInformationByHandleW, SYNCHRONIZE, SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, IO_STATUS_BLOCK};

use super::Outcome;
use crate::virtio::fs::Errno;
use crate::virtio::fs::foreign::{from_nt, from_windows};

/// Units of a path, and a NUL: what is enough for most, and for all.
const USUAL_PATH: u32 = 512;
const LONGEST_PATH: u32 = 32_768;

/// How something is opened.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Rights, apart from waiting, which everything here does.
    pub(super) access: u32,
    /// `FILE_OPEN`, `FILE_CREATE`, …
    pub(super) disposition: u32,
    /// `FILE_DIRECTORY_FILE`, `FILE_WRITE_THROUGH`, …
    pub(super) options: u32,
    /// Whether the system may do what a reparse point says.
    pub(super) follow: bool,
}

/// What a name is.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// An entry of the folder that the handle is of, a stream (`:name`) of the file that it is of, or nothing: that itself.
    Name(&'a [u16]),
    /// An object on the volume that the handle is on.
    Id(u128),
}

/// Information that is read: a structure of numbers.
///
/// # Safety
/// Any bytes make a valid one, and [`CLASS`](Self::CLASS) is what the system writes into it.
pub(super) unsafe trait Information: Copy {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS;
}

// SAFETY: times and attributes, which are numbers; the class is named like the structure.
unsafe impl Information for FILE_BASIC_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileBasicInfo;
}
// SAFETY: as above. Its two `bool`s are what the system writes as 0 or 1.
unsafe impl Information for FILE_STANDARD_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileStandardInfo;
}
// SAFETY: as above.
unsafe impl Information for FILE_ATTRIBUTE_TAG_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileAttributeTagInfo;
}
// SAFETY: as above.
unsafe impl Information for FILE_ID_INFO {
    const CLASS: FILE_INFO_BY_HANDLE_CLASS = FileIdInfo;
}

/// Of what went through the standard library, or has just failed.
pub(super) fn io_errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, |number| from_windows(number.cast_unsigned()))
}

fn done(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn told(status: NTSTATUS) -> Outcome<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: a function of a number.
    Err(from_nt(status).unwrap_or_else(|| from_windows(unsafe { RtlNtStatusToDosError(status) })))
}

/// Opens what is one step from `from`, sharing everything with everybody.
pub(super) fn open(from: &OwnedHandle, target: Target, how: How) -> Outcome<OwnedHandle> {
    let id = match target {
        Target::Id(id) => id.to_le_bytes(),
        Target::Name(_) => [0; 16],
    };
    let (start, len, by_id) = match target {
        Target::Name(name) => (name.as_ptr().cast_mut(), size_of_val(name), 0),
        // File systems with numbers of 64 bits take 16 bytes for something else.
        Target::Id(number) if u64::try_from(number).is_ok() => (id.as_ptr().cast_mut().cast(), 8, FILE_OPEN_BY_FILE_ID),
        Target::Id(_) => (id.as_ptr().cast_mut().cast(), 16, FILE_OPEN_BY_FILE_ID),
    };
    let len = u16::try_from(len).map_err(|_| Errno::NAMETOOLONG)?;
    let name = UNICODE_STRING { Length: len, MaximumLength: len, Buffer: start };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: from.as_raw_handle(),
        ObjectName: &raw const name,
        // As programs of Windows do; of a folder that tells case apart, NTFS does so all the same.
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let reparse = if how.follow { 0 } else { FILE_OPEN_REPARSE_POINT };
    let options = how.options | reparse | by_id | FILE_SYNCHRONOUS_IO_NONALERT;
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    let (mut opened, mut status): (HANDLE, _) = (null_mut(), IO_STATUS_BLOCK::default());
    // SAFETY: `attributes`, the name in it, and the name's memory (`target`'s or `id`) live until the call returns, which only
    // reads them; it writes to `opened` and `status`. There is no allocation size and there are no extended attributes.
    told(unsafe {
        NtCreateFile(
            &raw mut opened,
            how.access | SYNCHRONIZE,
            &raw const attributes,
            &raw mut status,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            share,
            how.disposition,
            options,
            null(),
            0,
        )
    })?;
    // SAFETY: the call succeeded, so this is an open handle, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(opened) })
}

pub(super) fn query<T: Information>(handle: &OwnedHandle) -> Outcome<T> {
    let mut information = MaybeUninit::<T>::zeroed();
    let (start, len) = (information.as_mut_ptr().cast(), size_of::<T>() as u32);
    // SAFETY: the handle is open, and the call writes at most `len` bytes from `start` on, which are ours.
    let answer = unsafe { GetFileInformationByHandleEx(handle.as_raw_handle(), T::CLASS, start, len) };
    done(answer).map_err(|error| io_errno(&error))?;
    // SAFETY: zeroes and whatever the system has written over them make one, says the trait.
    Ok(unsafe { information.assume_init() })
}

/// The number of a volume and of an object on it, which is 0 where the file system gives none.
pub(super) fn number(handle: &OwnedHandle) -> Outcome<(u64, u128)> {
    match query::<FILE_ID_INFO>(handle) {
        Ok(long) => return Ok((long.VolumeSerialNumber, u128::from_le_bytes(long.FileId.Identifier))),
        // A file system that has none so long, as FAT.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
        Err(other) => return Err(other),
    }
    let mut short = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the call writes one such structure, of numbers.
    let answer = unsafe { GetFileInformationByHandle(handle.as_raw_handle(), &raw mut short) };
    done(answer).map_err(|error| io_errno(&error))?;
    let id = u64::from(short.nFileIndexHigh) << 32 | u64::from(short.nFileIndexLow);
    // `FILE_INVALID_FILE_ID`
    let id = if id == u64::MAX { 0 } else { id };
    Ok((u64::from(short.dwVolumeSerialNumber), u128::from(id)))
}

/// What the file system says that it can do: `FILE_NAMED_STREAMS`, `FILE_SUPPORTS_OPEN_BY_FILE_ID`, …
pub(super) fn powers(handle: &OwnedHandle) -> Outcome<u32> {
    let mut powers = 0;
    // SAFETY: the handle is open, and the call writes one number to `powers`; nothing else is asked for.
    done(unsafe {
        GetVolumeInformationByHandleW(
            handle.as_raw_handle(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            &raw mut powers,
            null_mut(),
            0,
        )
    })
    .map_err(|error| io_errno(&error))?;
    Ok(powers)
}

/// The path of what a handle is of, in the form that no length bounds.
pub(super) fn path(handle: &OwnedHandle) -> Outcome<Vec<u16>> {
    for room in [USUAL_PATH, LONGEST_PATH] {
        let mut path = vec![0; room as usize];
        // SAFETY: the handle is open, and the call writes at most as many units as there is room for.
        let len = unsafe { GetFinalPathNameByHandleW(handle.as_raw_handle(), path.as_mut_ptr(), room, 0) };
        if len == 0 {
            return Err(io_errno(&io::Error::last_os_error()));
        }
        if len < room {
            path.truncate(len as usize);
            return Ok(path);
        }
    }
    Err(Errno::NAMETOOLONG)
}

/// Fills `buffer` with a list. Its entries begin at multiples of 8 bytes, and so does it.
pub(super) fn list(handle: &OwnedHandle, class: FILE_INFO_BY_HANDLE_CLASS, buffer: &mut [u64]) -> io::Result<()> {
    let len = size_of_val(buffer) as u32;
    // SAFETY: the handle is open, and the call writes at most `len` bytes to `buffer`, any of which make numbers.
    done(unsafe { GetFileInformationByHandleEx(handle.as_raw_handle(), class, buffer.as_mut_ptr().cast(), len) })
}

/// The bytes of what [`list`] filled.
pub(super) fn bytes(buffer: &[u64]) -> Vec<u8> {
    buffer.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn set<T: Copy>(handle: &OwnedHandle, class: FILE_INFO_BY_HANDLE_CLASS, new: &T) -> Outcome<()> {
    let (start, len) = ((&raw const *new).cast(), size_of::<T>() as u32);
    // SAFETY: the handle is open, and the call reads `len` bytes from `start` on, which is all of `new`.
    let answer = unsafe { SetFileInformationByHandle(handle.as_raw_handle(), class, start, len) };
    done(answer).map_err(|error| io_errno(&error))
}

/// Sets times and attributes; 0 leaves one as it is.
pub(super) fn set_basic(handle: &OwnedHandle, new: &FILE_BASIC_INFO) -> Outcome<()> {
    set(handle, FileBasicInfo, new)
}

/// Removes the name that a handle was opened by. With `flags` of `FileDispositionInfoEx`, if there are any.
pub(super) fn remove(handle: &OwnedHandle, flags: Option<u32>) -> Outcome<()> {
    match flags {
        Some(flags) => set(handle, FileDispositionInfoEx, &FILE_DISPOSITION_INFO_EX { Flags: flags }),
        None => set(handle, FileDispositionInfo, &FILE_DISPOSITION_INFO { DeleteFile: true }),
    }
}

/// Gives what a handle is of a name in a folder: a new one or another one, as `class` says.
pub(super) fn name(
    handle: &OwnedHandle,
    class: FILE_INFORMATION_CLASS,
    flags: u32,
    folder: &OwnedHandle,
    name: &[u16],
) -> Outcome<()> {
    // `FILE_LINK_INFORMATION` is laid out in the same way.
    let head = offset_of!(FILE_RENAME_INFORMATION, FileName);
    // Not shorter than the structure, which some file systems insist on.
    let len = (head + size_of_val(name)).max(size_of::<FILE_RENAME_INFORMATION>());
    let mut buffer = vec![0_u64; len.div_ceil(size_of::<u64>())];
    let start: *mut FILE_RENAME_INFORMATION = buffer.as_mut_ptr().cast();
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: `buffer` is at least as long and as aligned as the structure and zeroed; the name is written within its `len`
    // bytes, from `FileName` on, which is where `head` points. The call only reads them, and both handles are open.
    told(unsafe {
        (*start).Anonymous.Flags = flags;
        (*start).RootDirectory = folder.as_raw_handle();
        (*start).FileNameLength = size_of_val(name) as u32;
        let text: *mut u16 = start.cast::<u8>().add(head).cast();
        text.copy_from_nonoverlapping(name.as_ptr(), name.len());
        NtSetInformationFile(handle.as_raw_handle(), &raw mut status, start.cast(), len as u32, class)
    })
}

/// What a request to a file system and its answer are made of.
///
/// # Safety
/// All of its bytes mean something, and any bytes make a valid one.
pub(super) unsafe trait Number: Copy {}

// SAFETY: a number.
unsafe impl Number for u8 {}
// SAFETY: a number.
unsafe impl Number for u64 {}

/// Has the file system do something to a file. Returns how many bytes it answered.
pub(super) fn control<I: Number, O: Number>(
    handle: &OwnedHandle,
    code: u32,
    input: &[I],
    output: &mut [O],
) -> io::Result<usize> {
    let mut answered = 0;
    let (input_len, output_len) = (size_of_val(input) as u32, size_of_val(output) as u32);
    let input: *const c_void = if input.is_empty() { null() } else { input.as_ptr().cast() };
    let output: *mut c_void = if output.is_empty() { null_mut() } else { output.as_mut_ptr().cast() };
    // SAFETY: the handle is open and waits, so that the call is over when it returns. It reads `input_len` bytes of numbers and
    // writes at most `output_len`, which make numbers, and `answered`.
    done(unsafe {
        DeviceIoControl(
            handle.as_raw_handle(),
            code,
            input,
            input_len,
            output,
            output_len,
            &raw mut answered,
            null_mut(),
        )
    })?;
    Ok(answered as usize)
}

/// `FILE_FS_FULL_SIZE_INFORMATION`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Room {
    pub(super) units: i64,
    pub(super) available: i64,
    pub(super) free: i64,
    pub(super) sectors: u32,
    pub(super) sector: u32,
}

pub(super) fn room(handle: &OwnedHandle) -> Outcome<Room> {
    let (mut room, mut status) = (Room::default(), IO_STATUS_BLOCK::default());
    let (start, len) = ((&raw mut room).cast(), size_of::<Room>() as u32);
    // SAFETY: the handle is open, and the call writes at most `len` bytes from `start` on, which are numbers, and `status`.
    told(unsafe {
        NtQueryVolumeInformationFile(handle.as_raw_handle(), &raw mut status, start, len, FileFsFullSizeInformation)
    })?;
    Ok(room)
}
