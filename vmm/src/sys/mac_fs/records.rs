//! Extended attributes: the record of what a container sees of a file ([`Record`]), and those that a container sets itself. Those
//! of macOS have names without a `user.` before them and stay unseen.

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno as Darwin;

use super::node::Node;
use super::{MacFs, Outcome, errno};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Attributes, Kind, Setting};
use crate::virtio::fs::ownership::{ATTRIBUTE, Record};

/// Longest record, with much room to spare.
const RECORD: usize = 128;
/// Longest value and longest list of names that Linux takes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const LONGEST: usize = 64 << 10;

impl MacFs {
    /// What a container sees of an object.
    pub(super) fn shown(&self, node: &Node, real: Attributes) -> Attributes {
        self.record(node, &real).map_or(real, |record| record.applied(&real))
    }

    pub(super) fn record(&self, node: &Node, real: &Attributes) -> Option<Record> {
        let Ok(open) = node.descriptor() else { return self.remembered.get(&real.identity) };
        let mut value = [0; RECORD];
        match fgetxattr(&open, ATTRIBUTE, &mut value).map_err(errno) {
            Ok(len) => Record::parse(&value[..len]),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => self.remembered.get(&real.identity),
            // Out of reach, or no record of ours.
            Err(_) => None,
        }
    }

    /// Puts the record of a held object beside it; none, if the host already has it as it is to be seen.
    pub(super) fn keep_record(&self, node: &Node, real: &Attributes, record: Record) -> Outcome<()> {
        let plain = owners::is_plain(&record, real);
        if let Ok(open) = node.descriptor() {
            let kept = if plain {
                fremovexattr(&open, ATTRIBUTE)
            } else {
                fsetxattr(&open, ATTRIBUTE, record.value().as_bytes(), XattrFlags::empty())
            };
            match kept.map_err(errno) {
                Ok(()) => return Ok(()),
                Err(Errno::NODATA) if plain => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCES) => {}
                Err(other) => return Err(other),
            }
        }
        // What is no file on the host is not made to be one by what is remembered.
        self.remembered.set(real.identity, (!plain).then_some(record));
        if record.kind.is_some() { Err(Errno::PERM) } else { Ok(()) }
    }
}

/// Names with which a container could change what others see of a file.
fn reserved(name: &[u8]) -> bool {
    name == ATTRIBUTE.as_bytes()
}

/// Linux gives attributes of users to files and folders only; macOS would give them to links, too.
fn has_any(node: &Node) -> Outcome<bool> {
    Ok(matches!(node.real()?.kind, Kind::File | Kind::Folder))
}

pub(super) fn extended(node: &Node, name: &[u8]) -> Outcome<Vec<u8>> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::NODATA);
    }
    let mut value = vec![0; LONGEST];
    let len = fgetxattr(node.descriptor()?, name, &mut value[..]).map_err(errno)?;
    value.truncate(len);
    Ok(value)
}

pub(super) fn list(node: &Node) -> Outcome<Vec<u8>> {
    if !has_any(node)? {
        return Ok(Vec::new());
    }
    let mut names = vec![0; LONGEST];
    let len = match flistxattr(node.descriptor()?, &mut names[..]) {
        Err(Darwin::NOTSUP | Darwin::OPNOTSUPP) => 0,
        other => other.map_err(errno)?,
    };
    let ours = |name: &&[u8]| name.starts_with(b"user.") && !reserved(name.strip_suffix(b"\0").unwrap_or(name));
    Ok(names[..len].split_inclusive(|&byte| byte == 0).filter(ours).collect::<Vec<_>>().concat())
}

pub(super) fn set(node: &Node, name: &[u8], value: &[u8], setting: Setting) -> Outcome<()> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::PERM);
    }
    let flags = match setting {
        Setting::Any => XattrFlags::empty(),
        Setting::New => XattrFlags::CREATE,
        Setting::Old => XattrFlags::REPLACE,
    };
    fsetxattr(node.descriptor()?, name, value, flags).map_err(errno)
}

pub(super) fn remove(node: &Node, name: &[u8]) -> Outcome<()> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::NODATA);
    }
    fremovexattr(node.descriptor()?, name).map_err(errno)
}
