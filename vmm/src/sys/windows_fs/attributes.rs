//! What Windows says of an object, as Linux says it. Windows has neither modes nor owners of Linux' kind: what was not made by a
//! container belongs to root and is there for everybody, as far as the user's own rights on the host go.

use std::os::windows::io::OwnedHandle;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO, FILE_STANDARD_INFO,
};
use windows_sys::Win32::System::Ioctl::FSCTL_GET_REPARSE_POINT;

use super::Outcome;
use super::nt::{self, io_errno};
use crate::virtio::fs::foreign::{from_filetime, kind_of, link_text};
use crate::virtio::fs::host::{Attributes, Identity, Kind};

/// Most that a reparse point says (`MAXIMUM_REPARSE_DATA_BUFFER_SIZE`).
const REPARSE: usize = 16 << 10;
/// What everything has, and what a file that is marked as read only lacks.
const OPEN_TO_ALL: u32 = 0o777;
pub(super) const WRITABLE: u32 = 0o222;

/// An object as the host has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Real {
    pub(super) shown: Attributes,
    /// Its number, of which the identity has room for half.
    pub(super) id: u128,
    /// As the host tells it from others now, which is not always as the guest was told of it.
    pub(super) host: Identity,
    /// Of its reparse point; 0 if it is none.
    pub(super) tag: u32,
}

pub(super) fn real(handle: &OwnedHandle) -> Outcome<Real> {
    let basic: FILE_BASIC_INFO = nt::query(handle)?;
    let standard: FILE_STANDARD_INFO = nt::query(handle)?;
    let (host, id) = number(handle, &basic)?;
    let tag = tag(handle, &basic)?;
    let kind = kind_of(basic.FileAttributes, tag);
    let mode = match kind {
        // Of a folder that mark means something else.
        Kind::File if basic.FileAttributes & FILE_ATTRIBUTE_READONLY != 0 => OPEN_TO_ALL & !WRITABLE,
        _ => OPEN_TO_ALL,
    };
    let size = match kind {
        Kind::File => standard.EndOfFile.cast_unsigned(),
        Kind::Link => read_link(handle).map_or(0, |text| text.len() as u64),
        _ => 0,
    };
    let shown = Attributes {
        identity: host,
        kind,
        mode,
        uid: 0,
        gid: 0,
        links: standard.NumberOfLinks.max(1),
        // A device of the host is none of the guest's, whatever number it has.
        device: 0,
        size,
        blocks: standard.AllocationSize.cast_unsigned() / 512,
        block_size: 4096,
        accessed: from_filetime(basic.LastAccessTime),
        modified: from_filetime(basic.LastWriteTime),
        changed: from_filetime(basic.ChangeTime),
    };
    Ok(Real { shown, id, host, tag })
}

/// Which object it is on the host, and what: all that going on from it has to know.
pub(super) fn which(handle: &OwnedHandle) -> Outcome<(Identity, Kind)> {
    let basic: FILE_BASIC_INFO = nt::query(handle)?;
    Ok((number(handle, &basic)?.0, kind_of(basic.FileAttributes, tag(handle, &basic)?)))
}

fn number(handle: &OwnedHandle, basic: &FILE_BASIC_INFO) -> Outcome<(Identity, u128)> {
    let (device, id) = nt::number(handle)?;
    Ok((Identity { device, inode: folded(id), birth: basic.CreationTime.cast_unsigned() }, id))
}

fn tag(handle: &OwnedHandle, basic: &FILE_BASIC_INFO) -> Outcome<u32> {
    if basic.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT == 0 {
        return Ok(0);
    }
    Ok(nt::query::<FILE_ATTRIBUTE_TAG_INFO>(handle)?.ReparseTag)
}

/// A number of 128 bits in 64. NTFS has no more, so nothing is lost there.
pub(super) fn folded(id: u128) -> u64 {
    (id >> 64) as u64 ^ id as u64
}

/// What a link says.
pub(super) fn read_link(handle: &OwnedHandle) -> Outcome<Vec<u8>> {
    let mut data = vec![0; REPARSE];
    let len = nt::control(handle, FSCTL_GET_REPARSE_POINT, &[0_u8; 0], &mut data).map_err(|error| io_errno(&error))?;
    link_text(&data[..len])
}
