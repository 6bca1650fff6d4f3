//! Requests about one object as such: attributes, extended attributes, and the room on its file system.

use super::lifetimes::BRIEF;
use super::{Answer, Outcome, Server, done};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::reply::{Payload, Shown};
use crate::virtio::fs::fuse::set_attr::{SetAttr, fattr};
use crate::virtio::fs::host::{Attributes, Change, HostFs, Identity, Kind, NewTime, Setting, Space, Time};
use crate::virtio::fs::nodes::ROOT;

/// Longest value of an extended attribute in bytes (`XATTR_SIZE_MAX`), and longest name.
const LONGEST_VALUE: usize = 64 << 10;
const LONGEST_NAME: usize = 255;
/// The number of the root, which no host has.
const ROOT_INODE: u64 = 1;

/// The root: a folder of shares that belongs to root and that nobody changes.
const ROOT_ATTRIBUTES: Attributes = Attributes {
    identity: Identity { device: 0, inode: ROOT_INODE, birth: 0 },
    kind: Kind::Folder,
    mode: 0o755,
    uid: 0,
    gid: 0,
    links: 2,
    device: 0,
    size: 0,
    blocks: 0,
    block_size: 4096,
    accessed: Time { seconds: 0, nanos: 0 },
    modified: Time { seconds: 0, nanos: 0 },
    changed: Time { seconds: 0, nanos: 0 },
};

impl<H: HostFs> Server<H> {
    pub(in crate::virtio::fs) fn get_attributes(&self, node: u64) -> Outcome {
        if node == ROOT {
            let shown = Shown { inode: ROOT_INODE, attributes: &ROOT_ATTRIBUTES, in_window: false };
            return Ok(Answer::Payload(Payload::attributes(shown, BRIEF.attributes)));
        }
        let place = self.place(node)?;
        let (attributes, lifetime) = self.with_lifetime(&place, || self.host.attributes(&place.held))?;
        Ok(Answer::Payload(Payload::attributes(self.shown(&attributes), lifetime)))
    }

    pub(super) fn set_attributes(&self, node: u64, asked: &SetAttr) -> Outcome {
        let place = self.hold_to_change(node)?;
        let file = (asked.valid & fattr::FH != 0).then(|| self.files.get(asked.handle)).transpose()?;
        let change = change(asked)?;
        self.did_to_attributes(node);
        // A length is content; and so, for who reports it, is a time of change.
        if change.size.is_some() || change.modified.is_some() {
            self.did_to_content(node);
        }
        let attributes = self.host.change(&place.held, file.as_deref(), &change)?;
        Ok(Answer::Payload(Payload::attributes(self.shown(&attributes), BRIEF.attributes)))
    }

    pub(super) fn space(&self, node: u64) -> Outcome {
        let space = match node {
            ROOT => Space { unit: 4096, block_size: 4096, longest_name: 255, ..Space::default() },
            _ => self.host.space(&self.place(node)?.held)?,
        };
        Ok(Answer::Payload(Payload::space(&space)))
    }

    pub(super) fn sync_all(&self, node: u64) -> Outcome {
        if node != ROOT {
            self.host.sync_all(&self.place(node)?.held)?;
            return Ok(done());
        }
        // The kernel syncs the whole file system, which is all shares.
        for name in self.shares.names() {
            let share = crate::virtio::fs::name::Name::new(&name).ok().and_then(|name| self.shares.get(name));
            if let Some(share) = share {
                self.host.sync_all(share.root())?;
            }
        }
        Ok(done())
    }

    pub(super) fn extended(&self, node: u64, name: &[u8], room: u32) -> Outcome {
        if node == ROOT {
            return Err(Errno::NODATA);
        }
        allowed(name)?;
        let value = self.host.extended(&self.place(node)?.held, name)?;
        sized(value, room)
    }

    pub(super) fn list_extended(&self, node: u64, room: u32) -> Outcome {
        let names = if node == ROOT { Vec::new() } else { self.host.list_extended(&self.place(node)?.held)? };
        sized(names, room)
    }

    pub(super) fn set_extended(&self, node: u64, name: &[u8], value: &[u8], flags: u32) -> Outcome {
        allowed(name)?;
        if value.len() > LONGEST_VALUE {
            return Err(Errno::TOOBIG);
        }
        let setting = match flags {
            0 => Setting::Any,
            1 => Setting::New,
            2 => Setting::Old,
            _ => return Err(Errno::INVAL),
        };
        self.host.set_extended(&self.hold_to_change(node)?.held, name, value, setting)?;
        Ok(done())
    }

    pub(super) fn remove_extended(&self, node: u64, name: &[u8]) -> Outcome {
        allowed(name)?;
        self.host.remove_extended(&self.hold_to_change(node)?.held, name)?;
        Ok(done())
    }
}

/// What is asked with a length of 0 is only how long the answer is.
fn sized(bytes: Vec<u8>, room: u32) -> Outcome {
    match room as usize {
        0 => Ok(Answer::Payload(Payload::size(bytes.len() as u32))),
        room if room < bytes.len() => Err(Errno::RANGE),
        _ => Ok(Answer::Payload(Payload::raw(bytes))),
    }
}

/// Only the users' own name space: the others mean something to a kernel, and are not the guest's to set on a host. So
/// capabilities of files and access control lists stay out, as they do on a host's file system that knows none.
fn allowed(name: &[u8]) -> Result<(), Errno> {
    match name {
        _ if !name.starts_with(b"user.") => Err(Errno::OPNOTSUPP),
        // No name in a name space that there is: as Linux says it.
        b"user." => Err(Errno::INVAL),
        _ if name.len() > LONGEST_NAME => Err(Errno::RANGE),
        _ => Ok(()),
    }
}

fn change(asked: &SetAttr) -> Result<Change, Errno> {
    let has = |bit| asked.valid & bit != 0;
    let time = |given, now, seconds, nanos: u32| match (has(given), has(now)) {
        (_, true) => Ok(Some(NewTime::Now)),
        (true, false) if nanos >= 1_000_000_000 => Err(Errno::INVAL),
        (true, false) => Ok(Some(NewTime::At(Time { seconds, nanos }))),
        (false, false) => Ok(None),
    };
    Ok(Change {
        mode: has(fattr::MODE).then_some(asked.mode & 0o7777),
        uid: has(fattr::UID).then_some(asked.uid),
        gid: has(fattr::GID).then_some(asked.gid),
        size: has(fattr::SIZE).then_some(asked.size),
        accessed: time(fattr::ATIME, fattr::ATIME_NOW, asked.accessed, asked.accessed_nanos)?,
        modified: time(fattr::MTIME, fattr::MTIME_NOW, asked.modified, asked.modified_nanos)?,
        drop_set_id: has(fattr::KILL_SUIDGID),
    })
}
