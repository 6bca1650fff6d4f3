//! The content of files, and the room that there is for it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fstatvfs, openat};
use vm_memory::VolatileSlice;

use super::{LinuxFs, Node, Outcome, errno, io_errno};
use crate::sys::transfer::transfer;
use crate::sys::{self, posix};
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Access, Allocation, Kind, Seek, Space};

impl LinuxFs {
    /// Opens a regular file; nothing else is ever opened, so no device of the host does anything and no pipe makes us wait.
    pub(super) fn opened(&self, node: &Node, access: Access) -> Outcome<File> {
        match self.real(node)?.kind {
            Kind::File => {}
            Kind::Folder => return Err(Errno::ISDIR),
            Kind::Link => return Err(Errno::LOOP),
            Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => return Err(Errno::NXIO),
        }
        match self.reopened(node, flags(access)) {
            Err(Errno::ACCES) => {
                self.let_us_in(node)?;
                self.reopened(node, flags(access))
            }
            other => other,
        }
    }
}

/// Holds what is open, which may have no name any more.
pub(super) fn held(file: &File) -> Outcome<Node> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map(Node).map_err(errno)
}

pub(super) fn flags(access: Access) -> OFlags {
    let mut flags = posix::flags(access);
    flags.set(OFlags::TRUNC, access.truncate);
    flags.set(OFlags::DSYNC, access.durable);
    flags
}

pub(super) fn read(file: &File, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
    transfer(parts, io_errno, |parts, done| sys::read_at(file, parts, offset + done))
}

pub(super) fn write(file: &File, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
    transfer(parts, io_errno, |parts, done| sys::write_at(file, parts, offset + done))
}

/// Closes a descriptor and says what that said, which dropping it does not.
#[allow(unsafe_code)]
pub(super) fn close(descriptor: OwnedFd) -> Outcome<()> {
    // SAFETY: the descriptor is owned, and given up here: nobody else closes it or goes on to use it.
    let closed = unsafe { libc::close(descriptor.into_raw_fd()) };
    if closed == 0 { Ok(()) } else { Err(io_errno(&io::Error::last_os_error())) }
}

pub(super) fn allocate(file: &File, Allocation { mode, offset, len }: Allocation) -> Outcome<()> {
    let known = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
    let flags = FallocateFlags::from_bits(mode).filter(|flags| known.contains(*flags)).ok_or(Errno::OPNOTSUPP)?;
    fallocate(file, flags, offset, len).map_err(errno)
}

/// Only holes are filled: what has its place keeps it.
pub(super) fn make_room(file: &File, offset: u64, len: u64) -> Outcome<()> {
    let size = file.metadata().map_err(|error| io_errno(&error))?.len();
    let end = offset.saturating_add(len).min(size);
    match rustix::fs::seek(file, SeekFrom::Hole(offset)) {
        Ok(hole) if hole < end => {}
        // None there, or the file ends before, or its file system knows of no holes.
        _ => return Ok(()),
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, end - offset) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        done => done.map_err(errno),
    }
}

pub(super) fn seek(file: &File, offset: u64, seek: Seek) -> Outcome<u64> {
    let to = match seek {
        Seek::Data => SeekFrom::Data(offset),
        Seek::Hole => SeekFrom::Hole(offset),
    };
    // Its own place is nobody's business: reads and writes here say where.
    rustix::fs::seek(file, to).map_err(errno)
}

pub(super) fn copy(from: (&File, u64), to: (&File, u64), len: u64) -> Outcome<usize> {
    let (mut read_at, mut write_at) = (from.1, to.1);
    copy_file_range(from.0, Some(&mut read_at), to.0, Some(&mut write_at), len as usize).map_err(errno)
}

pub(super) fn space(node: &Node) -> Outcome<Space> {
    let space = fstatvfs(&node.0).map_err(errno)?;
    Ok(Space {
        unit: space.f_frsize as u32,
        blocks: space.f_blocks,
        free: space.f_bfree,
        available: space.f_bavail,
        files: space.f_files,
        files_free: space.f_ffree,
        block_size: space.f_bsize as u32,
        longest_name: space.f_namemax as u32,
    })
}
