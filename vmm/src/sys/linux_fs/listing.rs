//! The lists of folders, a few kilobytes at a time. What was read and not taken stays for the next call, as long as that goes on
//! where this one stopped.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom, fsync, openat, seek, syncfs};

use super::{Node, Outcome, errno};
use crate::sys::posix;
use crate::virtio::fs::host::{Entry, Kind};

/// Bytes asked of the kernel at once: some hundred entries.
const BUFFER: usize = 8 << 10;

/// A folder's list.
#[derive(Debug)]
pub struct Folder {
    open: OwnedFd,
    read: VecDeque<Read>,
    /// Where the first one of `read` stands.
    at: u64,
}

/// An entry that was read.
#[derive(Debug)]
struct Read {
    name: Box<[u8]>,
    inode: u64,
    kind: Option<Kind>,
    next: u64,
}

impl Folder {
    pub(super) fn open(node: &Node) -> Outcome<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = rustix::fs::openat(&node.0, c".", flags, Mode::empty());
        // What is held may be no folder, and then this says so.
        let open = open.or_else(|error| match error {
            rustix::io::Errno::NOENT => openat(CWD, node.path(), flags & !OFlags::NOFOLLOW, Mode::empty()),
            other => Err(other),
        });
        Ok(Self { open: open.map_err(errno)?, read: VecDeque::new(), at: 0 })
    }

    pub(super) fn list(&mut self, from: u64, take: &mut dyn FnMut(Entry) -> bool) -> Outcome<()> {
        if from != self.at || from == 0 {
            self.read.clear();
            seek(&self.open, SeekFrom::Start(from)).map_err(errno)?;
            self.at = from;
        }
        loop {
            while let Some(entry) = self.read.front() {
                let shown = Entry { name: &entry.name, inode: entry.inode, kind: entry.kind, next: entry.next };
                if !take(shown) {
                    return Ok(());
                }
                self.at = entry.next;
                self.read.pop_front();
            }
            self.fill()?;
            if self.read.is_empty() {
                return Ok(());
            }
        }
    }

    fn fill(&mut self) -> Outcome<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&self.open, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno)?;
            self.read.push_back(Read {
                name: entry.file_name().to_bytes().into(),
                inode: entry.ino(),
                kind: posix::kind(entry.file_type()),
                next: entry.next_entry_cookie(),
            });
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Outcome<()> {
        fsync(&self.open).map_err(errno)
    }

    pub(super) fn sync_all(&self) -> Outcome<()> {
        syncfs(&self.open).map_err(errno)
    }
}
