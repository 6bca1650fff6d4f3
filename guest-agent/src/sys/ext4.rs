//! Grows a mounted ext4 to the size of its disk, as `resize2fs` does, without that program. Called by `data_disk`.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Setter, ioctl, opcode};

/// Tells the file system that `directory` lies on to become `blocks` blocks large (`EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, u64)`).
pub fn grow(directory: impl AsFd, blocks: u64) -> io::Result<()> {
    const RESIZE_FS: rustix::ioctl::Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: the opcode takes a pointer to one u64, which it only reads.
    unsafe { ioctl(directory, Setter::<RESIZE_FS, u64>::new(blocks)) }?;
    Ok(())
}
