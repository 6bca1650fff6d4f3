//! The lists of folders, some hundred entries at a time. Names that cannot be told to the guest are left out.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;

use windows_sys::Wdk::Storage::FileSystem::{FILE_DIRECTORY_FILE, FILE_OPEN};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ADD_FILE, FILE_INFO_BY_HANDLE_CLASS, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FileIdBothDirectoryInfo,
    FileIdBothDirectoryRestartInfo, FileIdExtdDirectoryInfo, FileIdExtdDirectoryRestartInfo,
};

use super::Outcome;
use super::attributes::folded;
use super::node::Node;
use super::nt::{self, How, Target, io_errno};
use crate::sys::rows::{Row, Rows, Source};
use crate::virtio::fs::foreign::{Layout, from_wide, listed};
use crate::virtio::fs::host::{Entry, Kind};

/// Words of 8 bytes asked for at once.
const BUFFER: usize = 4 << 10;
/// `ERROR_NO_MORE_FILES`
const NO_MORE: i32 = 18;
/// `ERROR_FILE_NOT_FOUND`: there is not one.
const NONE: i32 = 2;
/// `ERROR_INVALID_FUNCTION`, `…_NOT_SUPPORTED`, `…_INVALID_PARAMETER`, `…_CALL_NOT_IMPLEMENTED`, `…_INVALID_LEVEL`
const UNKNOWN: [Option<i32>; 5] = [Some(1), Some(50), Some(87), Some(120), Some(124)];

const LIST: How = How {
    access: FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES,
    disposition: FILE_OPEN,
    options: FILE_DIRECTORY_FILE,
    follow: false,
};

/// A folder's list.
#[derive(Debug)]
pub struct Folder {
    listing: Listing,
    rows: Rows,
}

#[derive(Debug)]
struct Listing {
    open: OwnedHandle,
    /// The folder's own number.
    inode: u64,
    started: bool,
    layout: Layout,
}

impl Listing {
    /// Fills `buffer` with the next entries, or with the first ones.
    fn fill(&mut self, first: bool, buffer: &mut [u64]) -> io::Result<()> {
        let class = |layout| -> FILE_INFO_BY_HANDLE_CLASS {
            match (layout, first) {
                (Layout::Long, true) => FileIdExtdDirectoryRestartInfo,
                (Layout::Long, false) => FileIdExtdDirectoryInfo,
                (Layout::Short, true) => FileIdBothDirectoryRestartInfo,
                (Layout::Short, false) => FileIdBothDirectoryInfo,
            }
        };
        match nt::list(&self.open, class(self.layout), buffer) {
            // A file system that has no numbers so long, as FAT.
            Err(error) if first && self.layout == Layout::Long && UNKNOWN.contains(&error.raw_os_error()) => {
                self.layout = Layout::Short;
                nt::list(&self.open, class(self.layout), buffer)
            }
            other => other,
        }
    }
}

impl Source for Listing {
    fn restart(&mut self) -> Outcome<()> {
        self.started = false;
        Ok(())
    }

    fn read(&mut self, rows: &mut VecDeque<Row>) -> Outcome<()> {
        let mut first = !std::mem::replace(&mut self.started, true);
        if first {
            // The root of a volume lists neither of these; so they are not taken from anywhere.
            for own in [&b"."[..], b".."] {
                rows.push_back(Row { name: own.into(), inode: self.inode, kind: Some(Kind::Folder) });
            }
        }
        let mut buffer = vec![0; BUFFER];
        // All names of one answer may be such as cannot be told; that is not the end.
        loop {
            match self.fill(first, &mut buffer) {
                Ok(()) => {}
                Err(error) if [Some(NO_MORE), Some(NONE)].contains(&error.raw_os_error()) => return Ok(()),
                Err(error) => return Err(io_errno(&error)),
            }
            first = false;
            for entry in listed(&nt::bytes(&buffer), self.layout) {
                if let Some(name) = from_wide(&entry.name) {
                    rows.push_back(Row { name: name.into(), inode: folded(entry.id), kind: Some(entry.kind) });
                }
            }
            if !rows.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Folder {
    pub(super) fn open(node: &Node) -> Outcome<Self> {
        let open = node.open(LIST)?;
        let listing = Listing { open, inode: node.inode(), started: false, layout: Layout::Long };
        Ok(Self { listing, rows: Rows::default() })
    }

    pub(super) fn list(&mut self, from: u64, take: &mut dyn FnMut(Entry) -> bool) -> Outcome<()> {
        self.rows.list(&mut self.listing, from, take)
    }

    /// Windows asks for the right to write for that.
    pub(super) fn sync(&self) -> Outcome<()> {
        let how = How { access: LIST.access | FILE_ADD_FILE, ..LIST };
        let open = nt::open(&self.listing.open, Target::Name(&[]), how)?;
        File::from(open).sync_all().map_err(|error| io_errno(&error))
    }
}
