//! The lists of folders. As many entries as most folders have are read at once: APFS may skip some when others are removed while
//! it lists, which is just what whoever empties a folder does.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags, fcntl_fullfsync, fsync, openat};
use rustix::io::Errno as Darwin;

use super::node::Node;
use super::{Outcome, errno};
use crate::sys::posix;
use crate::sys::rows::{Row, Rows, Source};
use crate::virtio::fs::host::Entry;

/// Entries read at once: some megabytes at most.
const AT_ONCE: usize = 32_768;

/// A folder's list.
#[derive(Debug)]
pub struct Folder {
    /// Kept for syncing; `listing` has a descriptor of its own, with its own place.
    open: OwnedFd,
    listing: Listing,
    rows: Rows,
}

#[derive(Debug)]
struct Listing(Dir);

impl Source for Listing {
    fn restart(&mut self) -> Outcome<()> {
        self.0.rewind();
        Ok(())
    }

    fn read(&mut self, rows: &mut VecDeque<Row>) -> Outcome<()> {
        while rows.len() < AT_ONCE {
            let Some(entry) = self.0.read() else { break };
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes().into();
            rows.push_back(Row { name, inode: entry.ino(), kind: posix::kind(entry.file_type()) });
        }
        Ok(())
    }
}

impl Folder {
    pub(super) fn open(node: &Node) -> Outcome<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let held = node.descriptor()?;
        // Of what is held and no folder, this says so.
        let open = || openat(&held, c".", flags, Mode::empty()).map_err(errno);
        Ok(Self { open: open()?, listing: Listing(Dir::new(open()?).map_err(errno)?), rows: Rows::default() })
    }

    pub(super) fn list(&mut self, from: u64, take: &mut dyn FnMut(Entry) -> bool) -> Outcome<()> {
        self.rows.list(&mut self.listing, from, take)
    }

    pub(super) fn sync(&self) -> Outcome<()> {
        match fcntl_fullfsync(&self.open) {
            Err(Darwin::NOTSUP | Darwin::OPNOTSUPP | Darwin::INVAL | Darwin::NOTTY) => fsync(&self.open).map_err(errno),
            other => other.map_err(errno),
        }
    }
}
