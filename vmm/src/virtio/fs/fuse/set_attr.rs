//! SETATTR, the request with the most fields.

use super::bytes::Fields;

/// `fuse_setattr_in`, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAttr {
    /// `FATTR_…`: which of the others count.
    pub valid: u32,
    /// An open file.
    pub handle: u64,
    /// Bytes.
    pub size: u64,
    /// Seconds, as the kernel's signed number.
    pub accessed: i64,
    /// See `accessed`.
    pub modified: i64,
    /// Nanoseconds.
    pub accessed_nanos: u32,
    /// Nanoseconds.
    pub modified_nanos: u32,
    /// `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `FATTR_…`
pub mod fattr {
    #![allow(missing_docs)]
    pub const MODE: u32 = 1;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const FH: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

pub(super) fn set_attr(mut fields: Fields) -> SetAttr {
    let valid = fields.u32();
    fields.u32();
    let (handle, size, _lock_owner) = (fields.u64(), fields.u64(), fields.u64());
    let (accessed, modified, _changed) = (fields.u64().cast_signed(), fields.u64().cast_signed(), fields.u64());
    let (accessed_nanos, modified_nanos, _) = (fields.u32(), fields.u32(), fields.u32());
    let (mode, _unused) = (fields.u32(), fields.u32());
    let (uid, gid) = (fields.u32(), fields.u32());
    SetAttr { valid, handle, size, accessed, modified, accessed_nanos, modified_nanos, mode, uid, gid }
}
