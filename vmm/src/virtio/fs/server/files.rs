//! Requests about the content of files.

use vm_memory::VolatileSlice;

use super::lifetimes::BRIEF;
use super::names::maker;
use super::{Answer, Outcome, Server, done};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::numbers::{MAX_WRITE, open};
use crate::virtio::fs::fuse::reply::{Found, Payload};
use crate::virtio::fs::fuse::request::{Header, Transfer};
use crate::virtio::fs::host::{Access, Allocation, Change, HostFs, Seek};
use crate::virtio::fs::name::Name;

/// Most that one COPY_FILE_RANGE copies, so that no thread is busy with one request for long; the caller goes on.
const MOST_COPIED: u64 = 16 << 20;

impl<H: HostFs> Server<H> {
    pub(super) fn open(&self, node: u64, flags: u32, drop_set_id: bool) -> Outcome {
        let access = access(flags);
        let place = if access.write || access.truncate { self.hold_to_change(node)? } else { self.place(node)? };
        if drop_set_id && access.truncate {
            self.host.change(&place.held, None, &Change { drop_set_id: true, ..Change::default() })?;
        }
        if access.truncate {
            self.did_to_content(node);
        }
        let file = self.host.open(&place.held, access)?;
        let leave = self.kernel_may(access, &file);
        let handle = self.files.add(node, file)?;
        Ok(Answer::Payload(Payload::default().and_open(handle, leave)))
    }

    pub(super) fn create(&self, header: &Header, name: Name, flags: u32, mode: u32, drop_set_id: bool) -> Outcome {
        let (access, place) = (access(flags), self.hold_to_change(header.node)?);
        self.did_make(place.id, name);
        let (mut attributes, file) = self.host.create(&place.held, name, access, maker(header, mode))?;
        if drop_set_id && access.truncate && attributes.mode & 0o6000 != 0 {
            let held = self.host.hold(&place.held, name)?;
            attributes = self.host.change(&held, Some(&file), &Change { drop_set_id: true, ..Change::default() })?;
        }
        self.did_make(place.id, name);
        let node = self.tell(&place, name, &attributes);
        let leave = self.kernel_may(access, &file);
        let handle = self.opened(node, file)?;
        let found = Found { node, shown: Some(self.shown(&attributes)), lifetimes: BRIEF };
        Ok(Answer::Payload(Payload::entry(found).and_open(handle, leave)))
    }

    pub(super) fn create_unnamed(&self, header: &Header, flags: u32, mode: u32) -> Outcome {
        let (access, place) = (access(flags), self.hold_to_change(header.node)?);
        let (held, attributes, file) = self.host.create_unnamed(&place.held, access, maker(header, mode))?;
        // Nobody finds it by this name: it is pinned from the start.
        let unnamed = Name::new(b"(unnamed)").expect("one component");
        let node = self.tell(&place, unnamed, &attributes);
        self.nodes().pin(node, held);
        let leave = self.kernel_may(access, &file);
        let handle = self.opened(node, file)?;
        let found = Found { node, shown: Some(self.shown(&attributes)), lifetimes: BRIEF };
        Ok(Answer::Payload(Payload::entry(found).and_open(handle, leave)))
    }

    /// Pages that the guest has cached stay, since they go when the file's time or size has changed. Nothing is to be told at close
    /// to who only reads, nor where a file system says all in its answers to writes, which the guest's kernel passes on as they are.
    fn kernel_may(&self, access: Access, file: &H::File) -> u32 {
        let silent = !access.write || self.host.closes_silently(file);
        open::KEEP_CACHE | if silent { open::NOFLUSH } else { 0 }
    }

    /// Gives a file a number that the guest is told of together with the node.
    fn opened(&self, node: u64, file: H::File) -> Result<u64, Errno> {
        let handle = self.files.add(node, file);
        if handle.is_err() {
            self.nodes().forget(node, 1);
        }
        handle
    }

    pub(super) fn read(&self, what: &Transfer, room: &[VolatileSlice]) -> Outcome {
        let file = self.files.get(what.handle)?;
        if what.offset > i64::MAX as u64 {
            return Err(Errno::INVAL);
        }
        let parts = first(room, what.size as usize)?;
        Ok(Answer::Read(self.host.read(&file, what.offset, &parts)?))
    }

    pub(super) fn write(&self, node: u64, what: &Transfer, content: &[VolatileSlice]) -> Outcome {
        let file = self.files.get(what.handle)?;
        if what.size > MAX_WRITE || what.offset > i64::MAX as u64 - u64::from(MAX_WRITE) {
            return Err(Errno::INVAL);
        }
        let parts = first(content, what.size as usize)?;
        if what.drop_set_id {
            let place = self.hold_to_change(node)?;
            self.host.change(&place.held, None, &Change { drop_set_id: true, ..Change::default() })?;
        }
        self.did_to_content(node);
        let written = self.host.write(&file, what.offset, &parts)?;
        self.refresh_window(|source| source.node == node);
        // Not more than was asked.
        Ok(Answer::Payload(Payload::size(written as u32)))
    }

    pub(super) fn flush(&self, handle: u64) -> Outcome {
        self.host.flush(&*self.files.get(handle)?)?;
        Ok(done())
    }

    pub(super) fn sync(&self, handle: u64, data_only: bool) -> Outcome {
        self.host.sync(&*self.files.get(handle)?, data_only)?;
        Ok(done())
    }

    pub(super) fn allocate(&self, handle: u64, offset: u64, len: u64, mode: u32) -> Outcome {
        let file = self.files.get(handle)?;
        let end = offset.checked_add(len).filter(|&end| i64::try_from(end).is_ok());
        if end.is_none() {
            return Err(Errno::FBIG);
        }
        self.host.allocate(&file, Allocation { mode, offset, len })?;
        self.refresh_window(|_| true);
        Ok(done())
    }

    pub(super) fn seek(&self, handle: u64, offset: u64, whence: u32) -> Outcome {
        let seek = match whence {
            3 => Seek::Data,
            4 => Seek::Hole,
            _ => return Err(Errno::INVAL),
        };
        let file = self.files.get(handle)?;
        if offset > i64::MAX as u64 {
            return Err(Errno::NXIO);
        }
        Ok(Answer::Payload(Payload::offset(self.host.seek(&file, offset, seek)?)))
    }

    pub(super) fn copy(&self, from: (u64, u64), to: (u64, u64), len: u64, flags: u64) -> Outcome {
        let (source, target) = (self.files.get(from.0)?, self.files.get(to.0)?);
        if flags != 0 || from.1 > i64::MAX as u64 || to.1 > i64::MAX as u64 - MOST_COPIED {
            return Err(Errno::INVAL);
        }
        let copied = self.host.copy((&source, from.1), (&target, to.1), len.min(MOST_COPIED))?;
        self.refresh_window(|_| true);
        Ok(Answer::Payload(Payload::size(copied as u32)))
    }
}

/// Linux's `O_…` flags, of which only these are the host's business.
fn access(flags: u32) -> Access {
    const ACCESS: u32 = 0o3;
    const WRITE_ONLY: u32 = 0o1;
    const READ_WRITE: u32 = 0o2;
    const EXCLUSIVE: u32 = 0o200;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;
    const DATA_SYNC: u32 = 0o10_000;
    let has = |flag| flags & flag != 0;
    Access {
        read: flags & ACCESS != WRITE_ONLY,
        write: matches!(flags & ACCESS, WRITE_ONLY | READ_WRITE),
        append: has(APPEND),
        truncate: has(TRUNCATE),
        durable: has(DATA_SYNC),
        exclusive: has(EXCLUSIVE),
    }
}

/// The first `len` bytes of `parts`, all of which must be there.
fn first<'a>(parts: &[VolatileSlice<'a>], len: usize) -> Result<Vec<VolatileSlice<'a>>, Errno> {
    let mut wanted = Vec::with_capacity(parts.len());
    let mut left = len;
    for part in parts {
        if left == 0 {
            break;
        }
        let now = part.len().min(left);
        wanted.push(part.subslice(0, now).map_err(|_| Errno::IO)?);
        left -= now;
    }
    if left == 0 { Ok(wanted) } else { Err(Errno::INVAL) }
}
