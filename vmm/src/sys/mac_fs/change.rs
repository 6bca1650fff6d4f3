//! Changing attributes: length and times become the host's own, owner and mode mostly a record.

use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, chmodat, fchmod, fstat, ftruncate, utimensat};

use super::calls::{self, NewTimes};
use super::content::Open;
use super::node::Node;
use super::{MacFs, Outcome, errno};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Attributes, Change, Kind, NewTime, Time};
use crate::virtio::fs::ownership::{Record, kept};

impl MacFs {
    pub(super) fn changed(&self, node: &Node, file: Option<&Open>, change: &Change) -> Outcome<Attributes> {
        if let Some(size) = change.size {
            self.resize(node, file, size)?;
        }
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() || change.drop_set_id {
            let real = node.real()?;
            let before = self.record(node, &real);
            let seen = before.map_or(real, |record| record.applied(&real));
            self.settle(node, &real, owners::after(&seen, before, change))?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            set_times(node, change)?;
        }
        Ok(self.shown(node, node.real()?))
    }

    fn resize(&self, node: &Node, file: Option<&Open>, size: u64) -> Outcome<()> {
        // One that is open for reading only cannot be cut, though its node can.
        if let Some(file) = file
            && ftruncate(&file.file, size).is_ok()
        {
            return Ok(());
        }
        ftruncate(self.content(node, OFlags::WRONLY)?, size).map_err(errno)
    }

    /// Leaves an object on the host with the mode bits that belong to a record, and puts the record beside it.
    pub(super) fn settle(&self, node: &Node, real: &Attributes, record: Record) -> Outcome<()> {
        let mut real = *real;
        let wanted = kept(real.kind, record.mode);
        // A link has no mode. What is not ours on the host is not for us to change, and a record says all that can be said.
        if real.kind != Kind::Link && real.mode & 0o777 != wanted && real.uid == self.uid {
            chmod(node, Mode::from_bits_retain(wanted as u16))?;
            real.mode = wanted;
        }
        self.keep_record(node, &real, record)
    }

    /// A file of ours whose mode keeps even us out: it gets the bits that we need, and a record of those it had.
    pub(super) fn let_us_in(&self, node: &Node) -> Outcome<()> {
        let real = node.real()?;
        if real.uid != self.uid || !matches!(real.kind, Kind::File | Kind::Folder) {
            return Err(Errno::ACCES);
        }
        // Before the record can be read.
        chmod(node, Mode::from_bits_retain(kept(real.kind, real.mode) as u16))?;
        let before = self.record(node, &real);
        let seen = before.map_or(real, |record| record.applied(&real));
        let kind = before.and_then(|record| record.kind);
        let record = Record { uid: seen.uid, gid: seen.gid, mode: seen.mode, kind };
        self.settle(node, &node.real()?, record)
    }
}

fn chmod(node: &Node, mode: Mode) -> Outcome<()> {
    match node {
        Node::Open(open, _) => fchmod(open, mode).map_err(errno),
        // Between the look at who is there and this, the guest or a program on the host may put another of its own files there.
        // It lies in the same folder, and its mode is all that changes.
        Node::Named(..) => {
            let place = node.place()?;
            chmodat(&place.folder, &*place.name, mode, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
        }
    }
}

fn set_times(node: &Node, change: &Change) -> Outcome<()> {
    let (accessed, modified) = (change.accessed.map(time), change.modified.map(time));
    if let Ok(open) = node.descriptor() {
        let stat = fstat(&open).map_err(errno)?;
        // macOS moves the time of birth to before that of the last change, and an object of another birth is another object.
        let born = modified.map(|_| Timespec { tv_sec: stat.st_birthtime, tv_nsec: stat.st_birthtime_nsec });
        match calls::set_times(&open, &NewTimes { born, modified, accessed }) {
            // A file system without times of birth; it moves none.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            other => return other,
        }
    }
    let or_omit = |time: Option<Timespec>| time.unwrap_or(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT });
    let times = Timestamps { last_access: or_omit(accessed), last_modification: or_omit(modified) };
    let place = node.place()?;
    utimensat(&place.folder, &*place.name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
}

fn time(new: NewTime) -> Timespec {
    match new {
        NewTime::At(Time { seconds, nanos }) => Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
        NewTime::Now => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: now.as_secs().cast_signed(), tv_nsec: now.subsec_nanos().into() }
        }
    }
}
