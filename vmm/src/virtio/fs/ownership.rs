//! Owners and modes that exist in the guest only. The host's user owns every file of a share on the host and keeps access to it,
//! whatever a container made of it; what a container sees is recorded beside the file, in an extended attribute, in the form
//! that container tools use for this ([`ATTRIBUTE`]). Set-id bits and device nodes are never more than such a record.
//!
//! A record also says with which mode bits the file was left on the host. If those have changed, someone there has changed
//! them, and they count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::host::{Attributes, Identity, Kind};

/// The extended attribute: `UID:GID:0MODE`, numbers decimal, decimal and octal; and `:char-MAJOR-MINOR`, `:block-MAJOR-MINOR`,
/// `:pipe` or `:socket` behind it for what is an empty file on the host.
pub const ATTRIBUTE: &str = "user.containers.override_stat";
/// Files whose file system takes no such attribute, and links, which none does: as many are remembered until lighter ends.
const MOST_REMEMBERED: usize = 65_536;

/// What a container sees instead of what the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode & 07777`
    pub mode: u32,
    /// What it is, and its device number, if it is not what the host has.
    pub kind: Option<(Kind, u32)>,
}

impl Record {
    /// Reads an attribute's value; `None` for one that is none of ours.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split(':');
        let (uid, gid) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mode = u32::from_str_radix(parts.next()?, 8).ok()? & 0o7777;
        let kind = parts.next().and_then(kind);
        Some(Self { uid, gid, mode, kind })
    }

    /// The attribute's value.
    pub fn value(&self) -> String {
        let Self { uid, gid, mode, kind } = self;
        let kind = match kind {
            Some((Kind::Character, device)) => format!(":char-{}-{}", major(*device), minor(*device)),
            Some((Kind::Block, device)) => format!(":block-{}-{}", major(*device), minor(*device)),
            Some((Kind::Fifo, _)) => ":pipe".into(),
            Some((Kind::Socket, _)) => ":socket".into(),
            Some((Kind::File | Kind::Folder | Kind::Link, _)) | None => String::new(),
        };
        format!("{uid}:{gid}:0{mode:o}{kind}")
    }

    /// What a container sees of an object that the host has as `real`.
    pub fn applied(&self, real: &Attributes) -> Attributes {
        let untouched = real.mode & 0o777 == kept(real.kind, self.mode);
        let mode = if untouched { self.mode } else { real.mode & 0o777 | self.mode & 0o7000 };
        let (kind, device) = match self.kind {
            Some((kind, device)) if real.kind == Kind::File => (kind, device),
            _ => (real.kind, real.device),
        };
        Attributes { uid: self.uid, gid: self.gid, mode, kind, device, ..*real }
    }
}

/// The mode bits with which an object is left on the host: those that are wanted, but never so that its owner could not use it,
/// and never set-id bits.
pub fn kept(kind: Kind, mode: u32) -> u32 {
    mode & 0o777 | if kind == Kind::Folder { 0o700 } else { 0o600 }
}

/// The mode after a change of owner or content by someone without privileges: set-id bits go, but a set-group-id bit without
/// execution by the group, which means something else, stays.
pub fn without_set_id(kind: Kind, mode: u32) -> u32 {
    match kind {
        Kind::Folder => mode,
        _ if mode & 0o010 != 0 => mode & !0o6000,
        _ => mode & !0o4000,
    }
}

fn kind(text: &str) -> Option<(Kind, u32)> {
    let mut parts = text.split('-');
    let kind = match parts.next()? {
        "char" => Kind::Character,
        "block" => Kind::Block,
        "pipe" => return Some((Kind::Fifo, 0)),
        "socket" => return Some((Kind::Socket, 0)),
        _ => return None,
    };
    let (major, minor): (u32, u32) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((kind, minor & 0xff | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12))
}

/// As Linux packs device numbers in 32 bits (`new_encode_dev`).
fn major(device: u32) -> u32 {
    device >> 8 & 0xfff
}

fn minor(device: u32) -> u32 {
    device & 0xff | device >> 12 & 0xf_ff00
}

/// Records that could not be put beside their files.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<HashMap<Identity, Record>>);

impl Remembered {
    /// The record of an object, if there is one.
    pub fn get(&self, identity: &Identity) -> Option<Record> {
        self.lock().get(identity).copied()
    }

    /// Remembers one, or forgets it. Beyond what is remembered, the newest is forgotten at once.
    pub fn set(&self, identity: Identity, record: Option<Record>) {
        let mut all = self.lock();
        match record {
            Some(record) if all.len() < MOST_REMEMBERED || all.contains_key(&identity) => {
                all.insert(identity, record);
            }
            Some(_) => {}
            None => {
                all.remove(&identity);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::virtio::fs::host::Time;

    fn real(kind: Kind, mode: u32) -> Attributes {
        let identity = Identity { device: 1, inode: 2, birth: 3 };
        let (time, ids) = (Time::default(), 1000);
        Attributes {
            identity,
            kind,
            mode,
            uid: ids,
            gid: ids,
            links: 1,
            device: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            accessed: time,
            modified: time,
            changed: time,
        }
    }

    proptest! {
        #[test]
        fn f8_what_is_recorded_is_read_back(
            uid: u32, gid: u32, mode in 0..=0o7777u32, device: u32,
            kind in prop::option::of(prop::sample::select(vec![Kind::Character, Kind::Block, Kind::Fifo, Kind::Socket])),
        ) {
            let kind = kind.map(|kind| (kind, if matches!(kind, Kind::Fifo | Kind::Socket) { 0 } else { device }));
            let record = Record { uid, gid, mode, kind };
            prop_assert_eq!(Record::parse(record.value().as_bytes()), Some(record));
        }

        #[test]
        fn f8_no_value_makes_it_panic(value: Vec<u8>) {
            let _ = Record::parse(&value);
        }

        #[test]
        fn f8_the_host_keeps_access_and_gets_no_set_id_bit(mode in 0..=0o7777u32) {
            prop_assert_eq!(kept(Kind::File, mode) & 0o7600, 0o600);
            prop_assert_eq!(kept(Kind::Folder, mode) & 0o7700, 0o700);
        }
    }

    #[test]
    fn a_mode_that_someone_on_the_host_changed_counts() {
        let record = Record { uid: 999, gid: 999, mode: 0o4400, kind: None };
        assert_eq!(record.applied(&real(Kind::File, 0o600)).mode, 0o4400, "as it was left");
        assert_eq!(record.applied(&real(Kind::File, 0o755)).mode, 0o4755, "changed since");
        assert_eq!(record.applied(&real(Kind::File, 0o755)).uid, 999);
    }

    #[test]
    fn a_record_makes_a_device_of_a_file_only() {
        let record = Record { uid: 0, gid: 0, mode: 0o600, kind: Some((Kind::Character, 0x103)) };
        assert_eq!(record.value(), "0:0:0600:char-1-3");
        assert_eq!(record.applied(&real(Kind::File, 0o600)).kind, Kind::Character);
        assert_eq!(record.applied(&real(Kind::Folder, 0o700)).kind, Kind::Folder);
    }
}
