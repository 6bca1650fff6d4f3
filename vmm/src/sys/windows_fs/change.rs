//! Changing attributes: length and times become the host's own, owner and mode a record. Of the mode only the mark against
//! writing is the host's, and it is only ever taken away: a container that may not write to a file is stopped by its record.

use std::fs::File;
use std::time::SystemTime;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY, FILE_BASIC_INFO, FILE_WRITE_ATTRIBUTES,
};

use super::attributes::WRITABLE;
use super::content::Open;
use super::node::{LOOK, Node};
use super::nt::{self, How, io_errno};
use super::{Outcome, WindowsFs};
use crate::sys::owners;
use crate::virtio::fs::foreign::to_filetime;
use crate::virtio::fs::host::{Access, Attributes, Change, NewTime, Time};

/// Opens what is held to change its attributes.
const CHANGE: How = How { access: LOOK.access | FILE_WRITE_ATTRIBUTES, ..LOOK };
/// Of the owner's rights, to write.
const OWNER_WRITES: u32 = 0o200;

impl WindowsFs {
    pub(super) fn changed(&self, node: &Node, file: Option<&Open>, change: &Change) -> Outcome<Attributes> {
        if let Some(size) = change.size {
            resize(node, file, size)?;
        }
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() || change.drop_set_id {
            let mut real = node.real()?.shown;
            if change.mode.is_some_and(|mode| mode & OWNER_WRITES != 0) && real.mode & WRITABLE == 0 {
                allow_writing(node)?;
                real.mode |= WRITABLE;
            }
            let before = self.record(node, &real);
            let seen = before.map_or(real, |record| super::records::applied(&record, &real));
            self.keep_record(node, &real, owners::after(&seen, before, change))?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let times = FILE_BASIC_INFO {
                LastAccessTime: change.accessed.map_or(0, time),
                LastWriteTime: change.modified.map_or(0, time),
                ..FILE_BASIC_INFO::default()
            };
            nt::set_basic(&node.open(CHANGE)?, &times)?;
        }
        Ok(self.shown(node, node.real()?.shown))
    }
}

fn resize(node: &Node, file: Option<&Open>, size: u64) -> Outcome<()> {
    // One that is open for reading only cannot be cut, though its node can.
    if file.is_some_and(|file| file.file.set_len(size).is_ok()) {
        return Ok(());
    }
    let open: File = super::content::open(node, Access { write: true, ..Access::default() })?.file;
    open.set_len(size).map_err(|error| io_errno(&error))
}

fn allow_writing(node: &Node) -> Outcome<()> {
    let open = node.open(CHANGE)?;
    let attributes = nt::query::<FILE_BASIC_INFO>(&open)?.FileAttributes & !FILE_ATTRIBUTE_READONLY;
    // None at all would mean that they stay.
    let attributes = if attributes == 0 { FILE_ATTRIBUTE_NORMAL } else { attributes };
    nt::set_basic(&open, &FILE_BASIC_INFO { FileAttributes: attributes, ..FILE_BASIC_INFO::default() })
}

fn time(new: NewTime) -> i64 {
    to_filetime(match new {
        NewTime::At(time) => time,
        NewTime::Now => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Time { seconds: now.as_secs().cast_signed(), nanos: now.subsec_nanos() }
        }
    })
}
