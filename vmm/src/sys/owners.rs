//! Which record of owner and mode an object is to have, as the rules of Linux say, whatever the host's are.

use crate::virtio::fs::host::{Attributes, Change, Kind, Maker};
use crate::virtio::fs::ownership::{Record, without_set_id};

/// `S_ISGID`
const SET_GROUP: u32 = 0o2000;

/// What a new object gets from its folder: in one with the set-group-id bit its group, and folders that bit.
pub(super) fn heir(folder: &Attributes, kind: Kind, maker: Maker) -> Maker {
    if folder.mode & SET_GROUP == 0 {
        return maker;
    }
    let mode = if kind == Kind::Folder { maker.mode | SET_GROUP } else { maker.mode };
    Maker { mode, gid: folder.gid, ..maker }
}

/// The record of a new object.
pub(super) fn first(maker: Maker, real: &Attributes, kind: Option<(Kind, u32)>) -> Record {
    // A link's mode is the same everywhere.
    let mode = if real.kind == Kind::Link { real.mode } else { maker.mode };
    Record { uid: maker.uid, gid: maker.gid, mode, kind }
}

/// The record after a change, of an object that is seen as `seen` because of the record `before`.
pub(super) fn after(seen: &Attributes, before: Option<Record>, change: &Change) -> Record {
    let mut mode = change.mode.unwrap_or(seen.mode);
    let owner_changes = change.uid.is_some_and(|uid| uid != seen.uid) || change.gid.is_some_and(|gid| gid != seen.gid);
    // chown(2) takes the set-id bits away, unless the caller sets them in the same breath.
    if change.drop_set_id || (owner_changes && change.mode.is_none()) {
        mode = without_set_id(seen.kind, mode);
    }
    Record {
        uid: change.uid.unwrap_or(seen.uid),
        gid: change.gid.unwrap_or(seen.gid),
        mode,
        kind: before.and_then(|record| record.kind),
    }
}

/// Whether a record says nothing that the host does not have.
pub(super) fn is_plain(record: &Record, real: &Attributes) -> bool {
    record.kind.is_none() && (record.uid, record.gid, record.mode) == (real.uid, real.gid, real.mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::fs::host::{Identity, Time};

    fn seen(kind: Kind, mode: u32) -> Attributes {
        Attributes {
            identity: Identity { device: 1, inode: 2, birth: 3 },
            kind,
            mode,
            uid: 7,
            gid: 8,
            links: 1,
            device: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            accessed: Time::default(),
            modified: Time::default(),
            changed: Time::default(),
        }
    }

    #[test]
    fn f8_a_folder_with_the_set_group_bit_gives_its_group() {
        let maker = Maker { mode: 0o755, uid: 1, gid: 1 };
        let folder = seen(Kind::Folder, 0o2755);
        assert_eq!((heir(&folder, Kind::File, maker).gid, heir(&folder, Kind::File, maker).mode), (8, 0o755));
        assert_eq!(heir(&folder, Kind::Folder, maker).mode, 0o2755);
        assert_eq!(heir(&seen(Kind::Folder, 0o755), Kind::Folder, maker).gid, 1);
    }

    #[test]
    fn f8_a_change_of_owner_takes_the_set_id_bits() {
        let program = seen(Kind::File, 0o6755);
        let chown = Change { uid: Some(0), ..Change::default() };
        assert_eq!(after(&program, None, &chown).mode, 0o755);
        assert_eq!(after(&program, None, &Change { mode: Some(0o4755), ..chown }).mode, 0o4755);
        assert_eq!(after(&program, None, &Change { uid: Some(7), ..chown }).mode, 0o6755, "no change");
        let device = Record { uid: 7, gid: 8, mode: 0o600, kind: Some((Kind::Character, 0x103)) };
        assert_eq!(after(&program, Some(device), &chown).kind, device.kind, "a device stays one");
    }

    #[test]
    fn a_record_is_plain_only_if_the_host_says_the_same() {
        let real = seen(Kind::File, 0o644);
        let record = Record { uid: 7, gid: 8, mode: 0o644, kind: None };
        assert!(is_plain(&record, &real));
        assert!(!is_plain(&Record { gid: 9, ..record }, &real));
        assert!(!is_plain(&Record { kind: Some((Kind::Fifo, 0)), ..record }, &real));
        let maker = Maker { mode: 0o644, uid: 7, gid: 8 };
        assert_eq!(first(maker, &seen(Kind::Link, 0o777), None).mode, 0o777);
    }
}
