//! Extended attributes: the record of what a container sees of a file ([`Record`]), and those that a container sets itself.

use std::time::SystemTime;

use rustix::fs::{XattrFlags, getxattr, lgetxattr, listxattr, removexattr, setxattr};

use super::{LinuxFs, Node, Outcome, errno};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::host::{Attributes, Kind, Setting};
use crate::virtio::fs::ownership::{ATTRIBUTE, Record};

/// Longest record, with much room to spare.
const RECORD: usize = 128;
/// Longest value and longest list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const LONGEST: usize = 64 << 10;

/// Where an object is to be found.
pub(super) enum At<'a> {
    /// It is held.
    Held(&'a Node),
    /// As an entry of a held folder.
    Entry(&'a Node, Name<'a>),
}

impl LinuxFs {
    /// What a container sees of an object.
    pub(super) fn shown(&self, real: Attributes, at: At) -> Attributes {
        match self.record(&real, at) {
            Some(record) => record.applied(&real),
            None => real,
        }
    }

    pub(super) fn record(&self, real: &Attributes, at: At) -> Option<Record> {
        if !matches!(real.kind, Kind::File | Kind::Folder) {
            return self.remembered.get(&real.identity);
        }
        if self.recordless.knows(real) {
            return self.remembered.get(&real.identity);
        }
        let mut value = [0; RECORD];
        let len = match at {
            // The link in /proc leads to what is held, and to nothing else.
            At::Held(node) => getxattr(node.path(), ATTRIBUTE, &mut value),
            At::Entry(folder, name) => {
                let path = [folder.path().as_bytes(), b"/", name.bytes()].concat();
                lgetxattr(path, ATTRIBUTE, &mut value)
            }
        };
        match len {
            Ok(len) => Record::parse(&value[..len]),
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {
                self.recordless.note(real, SystemTime::now());
                self.remembered.get(&real.identity)
            }
            // Out of reach, or no record of ours.
            Err(_) => None,
        }
    }

    /// Puts the record of a held object beside it; none, if the host already has it as it is to be seen.
    pub(super) fn keep_record(&self, node: &Node, real: &Attributes, record: Record) -> Outcome<()> {
        let plain = owners::is_plain(&record, real);
        if matches!(real.kind, Kind::File | Kind::Folder) {
            let kept = if plain {
                removexattr(node.path(), ATTRIBUTE).or_else(|error| match error {
                    rustix::io::Errno::NODATA => Ok(()),
                    other => Err(other),
                })
            } else {
                setxattr(node.path(), ATTRIBUTE, record.value().as_bytes(), XattrFlags::empty())
            };
            match kept {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {}
                Err(other) => return Err(errno(other)),
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

pub(super) fn extended(node: &Node, name: &[u8]) -> Outcome<Vec<u8>> {
    if reserved(name) {
        return Err(Errno::NODATA);
    }
    let mut value = vec![0; LONGEST];
    let len = getxattr(node.path(), name, &mut value[..]).map_err(errno)?;
    value.truncate(len);
    Ok(value)
}

pub(super) fn list(node: &Node) -> Outcome<Vec<u8>> {
    let mut names = vec![0; LONGEST];
    let len = match listxattr(node.path(), &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other.map_err(errno)?,
    };
    let ours = |name: &&[u8]| name.starts_with(b"user.") && !reserved(name.strip_suffix(b"\0").unwrap_or(name));
    Ok(names[..len].split_inclusive(|&byte| byte == 0).filter(ours).collect::<Vec<_>>().concat())
}

pub(super) fn set(node: &Node, name: &[u8], value: &[u8], setting: Setting) -> Outcome<()> {
    if reserved(name) {
        return Err(Errno::PERM);
    }
    let flags = match setting {
        Setting::Any => XattrFlags::empty(),
        Setting::New => XattrFlags::CREATE,
        Setting::Old => XattrFlags::REPLACE,
    };
    setxattr(node.path(), name, value, flags).map_err(errno)
}

pub(super) fn remove(node: &Node, name: &[u8]) -> Outcome<()> {
    if reserved(name) {
        return Err(Errno::NODATA);
    }
    removexattr(node.path(), name).map_err(errno)
}
