//! The lists of folders, some hundred entries at a time. Names that cannot be told to the guest are left out.

use std::collections::VecDeque;
use std::fs::File;
use std::os::windows::io::OwnedHandle;

use windows_sys::Wdk::Storage::FileSystem::{FILE_DIRECTORY_FILE, FILE_OPEN};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ADD_FILE, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FileIdExtdDirectoryInfo, FileIdExtdDirectoryRestartInfo,
};

use super::attributes::folded;
use super::node::Node;
use super::nt::{self, How, Target, io_errno};
use super::{Outcome, attributes};
use crate::sys::rows::{Row, Rows, Source};
use crate::virtio::fs::foreign::{from_wide, listed};
use crate::virtio::fs::host::{Entry, Kind};

/// Words of 8 bytes asked for at once.
const BUFFER: usize = 4 << 10;
/// `ERROR_NO_MORE_FILES`
const NO_MORE: i32 = 18;
/// `ERROR_FILE_NOT_FOUND`: there is not one.
const NONE: i32 = 2;

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
}

impl Source for Listing {
    fn restart(&mut self) -> Outcome<()> {
        self.started = false;
        Ok(())
    }

    fn read(&mut self, rows: &mut VecDeque<Row>) -> Outcome<()> {
        let mut class = FileIdExtdDirectoryInfo;
        if !std::mem::replace(&mut self.started, true) {
            class = FileIdExtdDirectoryRestartInfo;
            // The root of a volume lists neither of these; so they are not taken from anywhere.
            for own in [&b"."[..], b".."] {
                rows.push_back(Row { name: own.into(), inode: self.inode, kind: Some(Kind::Folder) });
            }
        }
        let mut buffer = vec![0; BUFFER];
        // All names of one answer may be such as cannot be told; that is not the end.
        loop {
            match nt::list(&self.open, class, &mut buffer) {
                Ok(()) => {}
                Err(error) if [Some(NO_MORE), Some(NONE)].contains(&error.raw_os_error()) => return Ok(()),
                Err(error) => return Err(io_errno(&error)),
            }
            class = FileIdExtdDirectoryInfo;
            for entry in listed(&nt::bytes(&buffer)) {
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
        let inode = attributes::real(&open)?.shown.identity.inode;
        Ok(Self { listing: Listing { open, inode, started: false }, rows: Rows::default() })
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
