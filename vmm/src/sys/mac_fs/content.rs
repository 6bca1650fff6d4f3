//! The content of files, and the room that there is for it.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, SeekFrom, fcntl_fullfsync, fstatfs, fsync, ftruncate};
use rustix::io::Errno as Darwin;
use vm_memory::VolatileSlice;

use super::node::Node;
use super::{MacFs, Outcome, calls, errno, io_errno};
use crate::sys::transfer::transfer;
use crate::sys::{self, posix};
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Access, Allocation, Kind, Seek, Space};

/// `FALLOC_FL_KEEP_SIZE`, `…_PUNCH_HOLE`, `…_ZERO_RANGE`
const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const ZERO_RANGE: u32 = 0x10;
/// APFS punches whole ones of these only.
const BLOCK: u64 = 4096;

/// An open file.
#[derive(Debug)]
pub struct Open {
    pub(super) file: File,
    /// Every write is to reach the medium: `O_DSYNC` only hands it to the drive, as `fsync` does.
    durable: bool,
}

impl Open {
    pub(super) fn new(open: OwnedFd, access: Access) -> Self {
        Self { file: File::from(open), durable: access.durable }
    }

    pub(super) fn read(&self, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        transfer(parts, io_errno, |parts, done| sys::read_at(&self.file, parts, offset + done))
    }

    pub(super) fn write(&self, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        let written = transfer(parts, io_errno, |parts, done| sys::write_at(&self.file, parts, offset + done))?;
        if self.durable {
            sync(&self.file)?;
        }
        Ok(written)
    }
}

impl MacFs {
    /// Opens a regular file; nothing else is ever opened, so no device of the host does anything and no pipe makes us wait.
    pub(super) fn opened(&self, node: &Node, access: Access) -> Outcome<Open> {
        let open = self.content(node, posix::flags(access))?;
        // By now it is known to be the right one.
        if access.truncate {
            ftruncate(&open, 0).map_err(errno)?;
        }
        Ok(Open::new(open, access))
    }

    /// Opens a regular file, if need be after changing its mode.
    pub(super) fn content(&self, node: &Node, flags: OFlags) -> Outcome<OwnedFd> {
        match node.real()?.kind {
            Kind::File => {}
            Kind::Folder => return Err(Errno::ISDIR),
            Kind::Link => return Err(Errno::LOOP),
            Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => return Err(Errno::NXIO),
        }
        match node.open(flags) {
            Err(Errno::ACCES) => {
                self.let_us_in(node)?;
                node.open(flags)
            }
            other => other,
        }
    }
}

/// `fsync` leaves the content in the drive's cache; this does not. What cannot do that does what it can.
pub(super) fn sync(file: &File) -> Outcome<()> {
    match fcntl_fullfsync(file) {
        Err(Darwin::NOTSUP | Darwin::OPNOTSUPP | Darwin::INVAL | Darwin::NOTTY) => fsync(file).map_err(errno),
        other => other.map_err(errno),
    }
}

pub(super) fn allocate(file: &File, Allocation { mode, offset, len }: Allocation) -> Outcome<()> {
    if len == 0 {
        return Err(Errno::INVAL);
    }
    let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
    let metadata = file.metadata().map_err(|error| io_errno(&error))?;
    let size = metadata.len();
    let within = offset.min(size)..end.min(size);
    let grows = mode & KEEP_SIZE == 0 && end > size;
    match mode & !KEEP_SIZE {
        0 => {
            let taken = 512 * std::os::unix::fs::MetadataExt::blocks(&metadata);
            if end > taken {
                calls::reserve(file, end - taken)?;
            }
        }
        PUNCH_HOLE if mode & KEEP_SIZE != 0 => erase(file, within.start, within.end)?,
        ZERO_RANGE => erase(file, within.start, within.end)?,
        _ => return Err(Errno::OPNOTSUPP),
    }
    if grows { ftruncate(file, end).map_err(errno) } else { Ok(()) }
}

/// Makes a range within the file read as zeroes: whole blocks are given back, the rest is written over.
fn erase(file: &File, from: u64, to: u64) -> Outcome<()> {
    let (first, last) = (from.next_multiple_of(BLOCK), to / BLOCK * BLOCK);
    if first >= last {
        return zero(file, from, to);
    }
    zero(file, from, first)?;
    calls::punch(file, first, last - first)?;
    zero(file, last, to)
}

/// Less than two blocks.
fn zero(file: &File, from: u64, to: u64) -> Outcome<()> {
    let zeroes = [0; 2 * BLOCK as usize];
    let write = std::os::unix::fs::FileExt::write_all_at(file, &zeroes[..(to - from) as usize], from);
    write.map_err(|error| io_errno(&error))
}

pub(super) fn seek(file: &File, offset: u64, seek: Seek) -> Outcome<u64> {
    let to = match seek {
        Seek::Data => SeekFrom::Data(offset),
        Seek::Hole => SeekFrom::Hole(offset),
    };
    // Its own place is nobody's business: reads and writes here say where.
    match rustix::fs::seek(file, to) {
        // A file system without holes: all of it is data, and the end is a hole.
        Err(Darwin::INVAL | Darwin::NOTTY | Darwin::NOTSUP) => {
            let size = file.metadata().map_err(|error| io_errno(&error))?.len();
            match seek {
                _ if offset >= size => Err(Errno::NXIO),
                Seek::Data => Ok(offset),
                Seek::Hole => Ok(size),
            }
        }
        other => other.map_err(errno),
    }
}

pub(super) fn space(node: &Node) -> Outcome<Space> {
    // Not `fstatvfs`, which counts in 32 bits.
    let space = fstatfs(node.descriptor()?).map_err(errno)?;
    Ok(Space {
        unit: space.f_bsize,
        blocks: space.f_blocks,
        free: space.f_bfree,
        available: space.f_bavail,
        files: space.f_files,
        files_free: space.f_ffree,
        block_size: space.f_iosize.cast_unsigned(),
        longest_name: 255,
    })
}
