//! Holes in files by `fallocate(2)`.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate};

use super::Holes;

/// See [`Holes`].
pub(crate) const HOLES: Option<Holes> = Some(Holes { punch, zero });

fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
}

fn zero(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, offset, len)?)
}
