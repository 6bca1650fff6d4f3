//! Changing attributes: length and times become the host's own, owner and mode mostly a record.

use std::fs::File;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, chmodat, ftruncate, openat, utimensat};

use super::records::At;
use super::{LinuxFs, Node, Outcome, errno};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Attributes, Change, Kind, NewTime};
use crate::virtio::fs::ownership::{Record, kept};

impl LinuxFs {
    pub(super) fn changed(&self, node: &Node, file: Option<&File>, change: &Change) -> Outcome<Attributes> {
        if let Some(size) = change.size {
            self.resize(node, file, size)?;
        }
        let wants_owner = change.uid.is_some() || change.gid.is_some();
        if change.mode.is_some() || wants_owner || change.drop_set_id {
            self.change_record(node, change)?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let times = Timestamps { last_access: time(change.accessed), last_modification: time(change.modified) };
            utimensat(CWD, node.path(), &times, AtFlags::empty()).map_err(errno)?;
        }
        Ok(self.shown(self.real(node)?, At::Held(node)))
    }

    fn resize(&self, node: &Node, file: Option<&File>, size: u64) -> Outcome<()> {
        // One that is open for reading only cannot be cut, though its node can.
        if let Some(file) = file
            && ftruncate(file, size).is_ok()
        {
            return Ok(());
        }
        let access = crate::virtio::fs::host::Access { write: true, ..Default::default() };
        ftruncate(&self.opened(node, access)?, size).map_err(errno)
    }

    /// Owner and mode as the container is to see them.
    fn change_record(&self, node: &Node, change: &Change) -> Outcome<()> {
        let real = self.real(node)?;
        let before = self.record(&real, At::Held(node));
        let seen = before.map_or(real, |record| record.applied(&real));
        let record = owners::after(&seen, before, change);
        self.settle(node, &real, record)
    }

    /// Leaves an object on the host with the mode bits that belong to a record, and puts the record beside it.
    pub(super) fn settle(&self, node: &Node, real: &Attributes, record: Record) -> Outcome<()> {
        let mut real = *real;
        // A link has no mode.
        if real.kind != Kind::Link {
            let wanted = kept(real.kind, record.mode);
            // Not ours on the host: its bits are not for us to change, and a record says all that can be said.
            if real.mode & 0o777 != wanted && real.uid == self.uid {
                chmodat(CWD, node.path(), Mode::from_raw_mode(wanted), AtFlags::empty()).map_err(errno)?;
                real.mode = wanted;
            }
        }
        self.keep_record(node, &real, record)
    }

    /// A file or folder of ours whose mode keeps even us out: it gets the bits that we need, and a record of those it had.
    pub(super) fn let_us_in(&self, node: &Node) -> Outcome<()> {
        let real = self.real(node)?;
        if real.uid != self.uid || !matches!(real.kind, Kind::File | Kind::Folder) {
            return Err(Errno::ACCES);
        }
        let seen = self.shown(real, At::Held(node));
        let kind = self.record(&real, At::Held(node)).and_then(|record| record.kind);
        self.settle(node, &real, Record { uid: seen.uid, gid: seen.gid, mode: seen.mode, kind })
    }
}

impl LinuxFs {
    /// Opens what is held for its content; it is a regular file.
    pub(super) fn reopened(&self, node: &Node, flags: OFlags) -> Outcome<File> {
        // Nothing here is to become a terminal of ours, nor to wait for anyone.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(CWD, node.path(), flags, Mode::empty()).map(File::from).map_err(errno)
    }
}

fn time(new: Option<NewTime>) -> Timespec {
    let (tv_sec, tv_nsec) = match new {
        None => (0, rustix::fs::UTIME_OMIT),
        Some(NewTime::Now) => (0, rustix::fs::UTIME_NOW),
        Some(NewTime::At(time)) => (time.seconds, time.nanos.into()),
    };
    Timespec { tv_sec, tv_nsec }
}
