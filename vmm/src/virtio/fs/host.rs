//! What the FUSE server needs of a host's file system, in Linux terms. One implementation for each system lies in
//! `sys::host_fs`; the server on top of it is the same everywhere.
//!
//! An implementation never resolves a path: it goes from a [`HostFs::Node`] that it holds to an entry that a checked [`Name`]
//! names, and never through a link. It opens nothing but regular files and folders.

use std::path::Path;

use vm_memory::VolatileSlice;

use super::errno::Errno;
use super::name::Name;
use super::watching::Watching;

/// What tells an object of the host from every other, also from one that got its inode number after it was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// What differs if the number is used again: when it was made, in nanoseconds, where the file system knows.
    pub birth: u64,
}

/// Kinds of objects, as `S_IFMT` of `st_mode` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `S_IFREG`
    File,
    /// `S_IFDIR`
    Folder,
    /// `S_IFLNK`
    Link,
    /// `S_IFIFO`
    Fifo,
    /// `S_IFSOCK`
    Socket,
    /// `S_IFCHR`
    Character,
    /// `S_IFBLK`
    Block,
}

/// `S_IFMT`
const FORMAT: u32 = 0o170_000;

impl Kind {
    /// Its bits of `st_mode`.
    pub fn bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Character => 0o020_000,
            Self::Folder => 0o040_000,
            Self::Block => 0o060_000,
            Self::File => 0o100_000,
            Self::Link => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The kind in `mode`; `None` if those bits mean nothing.
    pub fn of(mode: u32) -> Option<Self> {
        [Self::Fifo, Self::Character, Self::Folder, Self::Block, Self::File, Self::Link, Self::Socket]
            .into_iter()
            .find(|kind| kind.bits() == mode & FORMAT)
    }

    /// As `d_type` of a directory entry has it.
    pub fn entry_type(self) -> u32 {
        self.bits() >> 12
    }
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Since 1970 UTC; may be negative.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanos: u32,
}

/// `struct stat`, as the guest is to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Which object.
    pub identity: Identity,
    /// What it is.
    pub kind: Kind,
    /// Permission bits and the three above them: `st_mode & 07777`.
    pub mode: u32,
    /// Its owner in the guest.
    pub uid: u32,
    /// Its group in the guest.
    pub gid: u32,
    /// Number of names.
    pub links: u32,
    /// Of a device node: major and minor as Linux packs them in 32 bits.
    pub device: u32,
    /// Bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Good size for reading and writing, in bytes.
    pub block_size: u32,
    /// Last read.
    pub accessed: Time,
    /// Last change of content.
    pub modified: Time,
    /// Last change of anything.
    pub changed: Time,
}

/// Whom a new object belongs to and what may be done with it.
#[derive(Debug, Clone, Copy)]
pub struct Maker {
    /// `mode & 07777`, the maker's umask applied.
    pub mode: u32,
    /// Who makes it.
    pub uid: u32,
    /// And that one's group.
    pub gid: u32,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTime {
    /// This one.
    At(Time),
    /// The host's present.
    Now,
}

/// What is to change; nothing else does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// `mode & 07777`
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last read.
    pub accessed: Option<NewTime>,
    /// Last change of content.
    pub modified: Option<NewTime>,
    /// Take the set-id bits away, as a write by someone without privileges does.
    pub drop_set_id: bool,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Every write goes to the end, wherever that is by then.
    pub append: bool,
    /// Emptied first.
    pub truncate: bool,
    /// Every write is durable when it returns.
    pub durable: bool,
    /// Of `create`: fails if there is one.
    pub exclusive: bool,
}

/// What happens to what has the new name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// It goes.
    Replace,
    /// The renaming fails (`RENAME_NOREPLACE`).
    Keep,
    /// It gets the old name (`RENAME_EXCHANGE`).
    Exchange,
}

/// What `fallocate` is to do with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Linux's `FALLOC_FL_…` bits; a backend refuses those that it does not know with `EOPNOTSUPP`.
    pub mode: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// Where `lseek` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`
    Hole,
}

/// How an extended attribute is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Whether there is one or not.
    Any,
    /// Only if there is none (`XATTR_CREATE`).
    New,
    /// Only if there is one (`XATTR_REPLACE`).
    Old,
}

/// `struct statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Unit of the next three, in bytes.
    pub unit: u32,
    /// All of it.
    pub blocks: u64,
    /// Free.
    pub free: u64,
    /// Free for this user.
    pub available: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub files_free: u64,
    /// Good size for reading and writing, in bytes.
    pub block_size: u32,
    /// Longest name in bytes.
    pub longest_name: u32,
}

/// An entry of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// As the guest is to see it; `.` and `..` are among them.
    pub name: &'a [u8],
    /// Its number, where the listing has it.
    pub inode: u64,
    /// What it is, where the listing says so.
    pub kind: Option<Kind>,
    /// Where the listing goes on behind it; never 0.
    pub next: u64,
}

/// A host's file system; see the head of this file. Methods block and are called from worker threads, several at a time.
pub trait HostFs: Send + Sync + 'static {
    /// An object held so that it stays the same one, whoever renames or removes it; not open for its content. Where a host has
    /// only names to hold it by, it is stale (`ESTALE`) once somebody on the host renames it or a folder above it, until it is
    /// looked up by its new name. It is never another one.
    type Node: Send + Sync + 'static;
    /// An open regular file.
    type File: Send + Sync + 'static;
    /// An open folder, with a place in its list.
    type Folder: Send + 'static;

    /// Holds the folder at `path`, which is the user's word: links in it are followed. Nothing else here takes a path.
    fn root(&self, path: &Path) -> Result<Self::Node, Errno>;
    /// Reports of changes, where the host has them; each call begins anew.
    fn watching(&self) -> Option<Box<dyn Watching<Self::Node>>>;
    /// What `name` in a folder is; a link is not followed.
    fn look_up(&self, folder: &Self::Node, name: Name) -> Result<Attributes, Errno>;
    /// Holds what `name` in a folder is; a link itself, if it is one.
    fn hold(&self, folder: &Self::Node, name: Name) -> Result<Self::Node, Errno>;
    /// What is held.
    fn attributes(&self, node: &Self::Node) -> Result<Attributes, Errno>;
    /// Changes attributes; of an open `file` through that.
    fn change(&self, node: &Self::Node, file: Option<&Self::File>, change: &Change) -> Result<Attributes, Errno>;
    /// What a link says.
    fn read_link(&self, node: &Self::Node) -> Result<Vec<u8>, Errno>;

    /// Makes a folder.
    fn make_folder(&self, folder: &Self::Node, name: Name, maker: Maker) -> Result<Attributes, Errno>;
    /// Makes what is neither file, folder nor link (`device`: its number), or an empty file. What would be more than a file on
    /// the host is none there.
    fn make_node(
        &self,
        folder: &Self::Node,
        name: Name,
        kind: Kind,
        device: u32,
        maker: Maker,
    ) -> Result<Attributes, Errno>;
    /// Makes a symbolic link that says `target`, which nobody on the host resolves.
    fn make_link(&self, folder: &Self::Node, name: Name, target: &[u8], maker: Maker) -> Result<Attributes, Errno>;
    /// Gives an object one more name.
    fn link(&self, node: &Self::Node, folder: &Self::Node, name: Name) -> Result<Attributes, Errno>;
    /// Removes a name of what is no folder.
    fn remove(&self, folder: &Self::Node, name: Name) -> Result<(), Errno>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Self::Node, name: Name) -> Result<(), Errno>;
    /// Renames.
    fn rename(&self, from: (&Self::Node, Name), to: (&Self::Node, Name), how: Rename) -> Result<(), Errno>;

    /// Opens a regular file; `ENXIO` or `EISDIR` for anything else.
    fn open(&self, node: &Self::Node, access: Access) -> Result<Self::File, Errno>;
    /// Holds what is open, whatever its name is by now, or if it has none any more; `None` where the host has no way from the one
    /// to the other.
    fn hold_open(&self, file: &Self::File) -> Option<Self::Node>;
    /// Makes a regular file and opens it. What is there already is opened, unless `access.exclusive`.
    fn create(
        &self,
        folder: &Self::Node,
        name: Name,
        access: Access,
        maker: Maker,
    ) -> Result<(Attributes, Self::File), Errno>;
    /// Opens a new file without a name (`O_TMPFILE`), and holds it.
    fn create_unnamed(
        &self,
        folder: &Self::Node,
        access: Access,
        maker: Maker,
    ) -> Result<(Self::Node, Attributes, Self::File), Errno>;
    /// The open file for the hypervisor, where a system lets it map files into the guest.
    fn mappable(&self, _file: Self::File) -> Option<std::fs::File> {
        None
    }
    /// Reserves room for what is missing in a range of a file, as far as the file reaches; where the file system cannot, nothing.
    fn make_room(&self, _file: &std::fs::File, _offset: u64, _len: u64) -> Result<(), Errno> {
        Ok(())
    }
    /// Reads into `parts`; less than asked at the end of the file only.
    fn read(&self, file: &Self::File, offset: u64, parts: &[VolatileSlice]) -> Result<usize, Errno>;
    /// Writes all of `parts`, or as much as went before an error.
    fn write(&self, file: &Self::File, offset: u64, parts: &[VolatileSlice]) -> Result<usize, Errno>;
    /// Returns when the file (its content and length only, if `data_only`) is durable.
    fn sync(&self, file: &Self::File, data_only: bool) -> Result<(), Errno>;
    /// Whether closing the file says nothing that writing to it did not say, so that [`flush`](Self::flush) has nothing to do.
    fn closes_silently(&self, file: &Self::File) -> bool;
    /// Someone closed the file: what its file system holds back until then is said now.
    fn flush(&self, file: &Self::File) -> Result<(), Errno>;
    /// Reserves, punches, zeroes a range.
    fn allocate(&self, file: &Self::File, allocation: Allocation) -> Result<(), Errno>;
    /// Where the next data or hole begins.
    fn seek(&self, file: &Self::File, offset: u64, seek: Seek) -> Result<u64, Errno>;
    /// Copies within the host; may do less than asked.
    fn copy(&self, from: (&Self::File, u64), to: (&Self::File, u64), len: u64) -> Result<usize, Errno>;

    /// Opens a folder's list.
    fn open_folder(&self, node: &Self::Node) -> Result<Self::Folder, Errno>;
    /// Calls `take` for entries from `from` on (0 is the first) until it returns `false` or there are no more. An entry that was
    /// not taken comes again.
    fn list(&self, folder: &mut Self::Folder, from: u64, take: &mut dyn FnMut(Entry) -> bool) -> Result<(), Errno>;
    /// Returns when the folder's entries are durable.
    fn sync_folder(&self, folder: &Self::Folder) -> Result<(), Errno>;

    /// What room there is.
    fn space(&self, node: &Self::Node) -> Result<Space, Errno>;
    /// Returns when all that was written to the file system is durable.
    fn sync_all(&self, node: &Self::Node) -> Result<(), Errno>;

    /// The value of an extended attribute.
    fn extended(&self, node: &Self::Node, name: &[u8]) -> Result<Vec<u8>, Errno>;
    /// The names of all, each ended by a NUL.
    fn list_extended(&self, node: &Self::Node) -> Result<Vec<u8>, Errno>;
    /// Sets one.
    fn set_extended(&self, node: &Self::Node, name: &[u8], value: &[u8], setting: Setting) -> Result<(), Errno>;
    /// Removes one.
    fn remove_extended(&self, node: &Self::Node, name: &[u8]) -> Result<(), Errno>;
}
