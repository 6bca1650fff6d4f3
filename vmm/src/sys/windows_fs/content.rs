//! The content of files, and the room that there is for it.

use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;

use vm_memory::VolatileSlice;
use windows_sys::Wdk::Storage::FileSystem::{FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_WRITE_THROUGH};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_APPEND_DATA, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA,
};
use windows_sys::Win32::System::Ioctl::{FSCTL_QUERY_ALLOCATED_RANGES, FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA};

use super::Outcome;
use super::node::Node;
use super::nt::{self, How, io_errno};
use crate::sys;
use crate::sys::transfer::transfer;
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Access, Allocation, Kind, Seek, Space};

/// `FALLOC_FL_KEEP_SIZE`, `…_PUNCH_HOLE`, `…_ZERO_RANGE`
const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const ZERO_RANGE: u32 = 0x10;
/// The place that means the end of a file, wherever that is when the write gets there.
const END: u64 = u64::MAX;
/// Ranges asked for at once.
const RANGES: usize = 64;
/// `ERROR_MORE_DATA`: the answer is as much as there was room for.
const MORE_DATA: i32 = 234;

/// An open file.
#[derive(Debug)]
pub struct Open {
    pub(super) file: File,
    append: bool,
}

impl Open {
    pub(super) fn new(open: OwnedHandle, access: Access) -> Self {
        Self { file: File::from(open), append: access.append }
    }

    pub(super) fn read(&self, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        transfer(parts, io_errno, |parts, done| sys::read_at(&self.file, parts, offset + done))
    }

    pub(super) fn write(&self, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        let place = |done| if self.append { END } else { offset + done };
        transfer(parts, io_errno, |parts, done| sys::write_at(&self.file, parts, place(done)))
    }
}

/// How a file is opened for its content. It can always be read, which finding holes needs.
pub(super) fn how(access: Access, disposition: u32) -> How {
    let mut rights = FILE_READ_DATA | FILE_READ_ATTRIBUTES;
    // Emptying needs the right to write, whatever else was asked for.
    if access.write || access.truncate {
        rights |= FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES;
    }
    let durable = if access.durable { FILE_WRITE_THROUGH } else { 0 };
    How { access: rights, disposition, options: FILE_NON_DIRECTORY_FILE | durable, follow: false }
}

/// Opens a regular file; nothing else is ever opened, so no pipe makes us wait.
pub(super) fn open(node: &Node, access: Access) -> Outcome<Open> {
    let real = node.real()?;
    match real.shown.kind {
        Kind::File => {}
        Kind::Folder => return Err(Errno::ISDIR),
        Kind::Link => return Err(Errno::LOOP),
        Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => return Err(Errno::NXIO),
    }
    // A file with a reparse point is one whose content is elsewhere: compressed, in the cloud. The system gets it if asked so.
    let open = node.open(How { follow: real.tag != 0, ..how(access, FILE_OPEN) })?;
    // It could have become a link since, which would have been followed.
    if real.tag != 0 && !node.is_open_as(&open)? {
        return Err(Errno::STALE);
    }
    let open = Open::new(open, access);
    if access.truncate {
        open.file.set_len(0).map_err(|error| io_errno(&error))?;
    }
    Ok(open)
}

/// Makes what was written durable. Windows asks for the right to write for that, which Linux does not.
pub(super) fn sync(file: &File) -> Outcome<()> {
    match file.sync_all().map_err(|error| io_errno(&error)) {
        Err(Errno::ACCES) => {
            let how = how(Access { write: true, ..Access::default() }, FILE_OPEN);
            let handle = file.try_clone().map_err(|error| io_errno(&error))?.into();
            let writable = nt::open(&handle, nt::Target::Name(&[]), how)?;
            File::from(writable).sync_all().map_err(|error| io_errno(&error))
        }
        other => other,
    }
}

pub(super) fn allocate(file: &File, Allocation { mode, offset, len }: Allocation) -> Outcome<()> {
    if len == 0 {
        return Err(Errno::INVAL);
    }
    let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
    let size = file.metadata().map_err(|error| io_errno(&error))?.len();
    let (from, to) = (offset.min(size), end.min(size));
    match mode & !KEEP_SIZE {
        // Room behind the end would be given back when the file is closed.
        0 if mode & KEEP_SIZE == 0 => {}
        PUNCH_HOLE if mode & KEEP_SIZE != 0 => erase(file, from, to, true)?,
        ZERO_RANGE => erase(file, from, to, false)?,
        _ => return Err(Errno::OPNOTSUPP),
    }
    if mode & KEEP_SIZE == 0 && end > size {
        file.set_len(end).map_err(|error| io_errno(&error))?;
    }
    Ok(())
}

/// Makes a range within the file read as zeroes, with a hole in its place where the file can have any.
fn erase(file: &File, from: u64, to: u64, hole: bool) -> Outcome<()> {
    if from == to {
        return Ok(());
    }
    let handle: OwnedHandle = file.try_clone().map_err(|error| io_errno(&error))?.into();
    if hole {
        nt::control::<u8, u8>(&handle, FSCTL_SET_SPARSE, &[], &mut []).map_err(|error| io_errno(&error))?;
    }
    // `FILE_ZERO_DATA_INFORMATION`
    let done = nt::control::<u64, u8>(&handle, FSCTL_SET_ZERO_DATA, &[from, to], &mut []);
    done.map(drop).map_err(|error| io_errno(&error))
}

pub(super) fn seek(file: &File, offset: u64, seek: Seek) -> Outcome<u64> {
    let size = file.metadata().map_err(|error| io_errno(&error))?.len();
    if offset >= size {
        return Err(Errno::NXIO);
    }
    let handle: OwnedHandle = file.try_clone().map_err(|error| io_errno(&error))?.into();
    let mut at = offset;
    loop {
        let ranges = match data(&handle, at, size).map_err(|error| io_errno(&error)) {
            // A file system without holes: all of it is data, and the end is a hole.
            Err(Errno::OPNOTSUPP | Errno::INVAL) => vec![(0, size)],
            other => other?,
        };
        if seek == Seek::Data {
            let first = ranges.first().ok_or(Errno::NXIO)?;
            return Ok(first.0.max(offset));
        }
        let before = at;
        for (from, to) in ranges {
            if from > at {
                return Ok(at);
            }
            at = at.max(to);
        }
        if at == before || at >= size {
            return Ok(at.min(size));
        }
    }
}

/// Where there is data from `at` on: the first some ranges.
fn data(handle: &OwnedHandle, at: u64, size: u64) -> io::Result<Vec<(u64, u64)>> {
    // `FILE_ALLOCATED_RANGE_BUFFER`: from where, how long.
    let mut answer = [[0_u64; 2]; RANGES];
    let len = match nt::control(handle, FSCTL_QUERY_ALLOCATED_RANGES, &[at, size - at], answer.as_flattened_mut()) {
        Err(error) if error.raw_os_error() == Some(MORE_DATA) => size_of_val(&answer),
        other => other?,
    };
    let ranges = &answer[..len / size_of::<[u64; 2]>()];
    Ok(ranges.iter().map(|&[from, len]| (from, from.saturating_add(len))).collect())
}

pub(super) fn space(node: &Node) -> Outcome<Space> {
    let room = nt::room(&node.open(super::node::LOOK)?)?;
    let unit = room.sectors.saturating_mul(room.sector);
    Ok(Space {
        unit,
        blocks: room.units.cast_unsigned(),
        free: room.free.cast_unsigned(),
        available: room.available.cast_unsigned(),
        // Windows makes room for more as they are needed, and does not count them.
        files: 0,
        files_free: 0,
        block_size: unit,
        longest_name: 255,
    })
}
