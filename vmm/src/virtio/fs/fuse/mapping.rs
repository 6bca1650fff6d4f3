//! What a guest asks about the window in which it sees pages of the host's files: SETUPMAPPING and REMOVEMAPPING. Numbers are read
//! here; whether there is such a place is for `dax` to say.

use super::bytes::{Fields, Reader};
use crate::virtio::fs::errno::Errno;

/// `fuse_setupmapping_in`. Its file handle is left out: Linux gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUpMapping {
    /// First byte of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Where in the window.
    pub at: u64,
    /// The guest will write to it.
    pub writable: bool,
}

/// `FUSE_SETUPMAPPING_FLAG_WRITE`
const WRITE: u64 = 1 << 0;
/// `FUSE_SETUPMAPPING_FLAG_READ`
const READ: u64 = 1 << 1;

/// Reads one; memory that can be written but not read there is none.
pub(super) fn set_up(mut fields: Fields) -> Result<SetUpMapping, Errno> {
    let (_handle, offset, len) = (fields.u64(), fields.u64(), fields.u64());
    let (flags, at) = (fields.u64(), fields.u64());
    if flags & !(READ | WRITE) != 0 || flags & READ == 0 {
        return Err(Errno::INVAL);
    }
    Ok(SetUpMapping { offset, len, at, writable: flags & WRITE != 0 })
}

/// The pieces of a REMOVEMAPPING.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces<'a>(&'a [u8]);

/// Most pieces in one request (`FUSE_REMOVEMAPPING_MAX_ENTRY`).
const MOST: usize = 256;

impl<'a> Pieces<'a> {
    pub(super) fn parse(mut at: Reader<'a>) -> Result<Self, Errno> {
        let count = at.fixed::<4>()?.u32() as usize;
        if count > MOST {
            return Err(Errno::INVAL);
        }
        at.0.get(..16 * count).map(Self).ok_or(Errno::INVAL)
    }

    /// Begin and length of each, in bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.chunks_exact(16).map(|piece| {
            let mut fields = Fields(piece);
            (fields.u64(), fields.u64())
        })
    }
}
