//! What a guest gets: structures of the protocol as bytes, behind the header that every answer has.

use std::time::Duration;

use super::numbers;
use crate::dax::PAGE;
use crate::virtio::fs::host::{Attributes, Entry, Kind, Space};

/// Length of `fuse_out_header`.
pub const HEADER: usize = 16;
/// Length of `fuse_entry_out`.
const ENTRY: usize = 128;
/// Length of `fuse_dirent` before its name.
const DIRENT: usize = 24;

/// `fuse_out_header`: a whole answer's length, its error (0 or a positive number) and which request it belongs to.
pub fn header(payload: usize, error: i32, unique: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    // Payloads are bounded by what one request may ask for.
    bytes[..4].copy_from_slice(&((HEADER + payload) as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&(-error).to_le_bytes());
    bytes[8..].copy_from_slice(&unique.to_le_bytes());
    bytes
}

/// Attributes with the number under which the guest is to know the object.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// `st_ino`
    pub inode: u64,
    /// All else.
    pub attributes: &'a Attributes,
    /// Its pages are those of the host, in the window.
    pub in_window: bool,
}

/// How long an entry may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// That the name stands for this node.
    pub name: Duration,
    /// The node's attributes.
    pub attributes: Duration,
}

/// An object with the id that the guest will use for it.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Node id; 0: there is none, and that may be cached.
    pub node: u64,
    /// What it is; `None` with node id 0.
    pub shown: Option<Shown<'a>>,
    /// How long it may be cached.
    pub lifetimes: Lifetimes,
}

/// `struct fuse_init_out`.
#[derive(Debug, Clone, Copy)]
pub struct Init {
    /// Bytes that the kernel may read ahead.
    pub max_readahead: u32,
    /// See [`super::numbers::init`].
    pub flags: u64,
}

/// A payload under construction.
#[derive(Debug, Default)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// What has been put into it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// Bytes as they are.
    pub fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// `fuse_init_out`.
    pub fn init(init: Init) -> Self {
        use super::numbers::{MAJOR, MAX_PAGES, MAX_WRITE, MINOR};
        let mut it = Self::default();
        it.u32(MAJOR).u32(MINOR).u32(init.max_readahead).u32(init.flags as u32);
        // max_background and congestion_threshold, two 16-bit numbers: requests in the background, and from when on there are
        // many of them.
        it.u32(128 | 96 << 16).u32(MAX_WRITE);
        // time_gran: one nanosecond. max_pages and map_alignment, two 16-bit numbers; the latter as a power of two.
        let alignment = if init.flags & numbers::init::MAP_ALIGNMENT != 0 { PAGE.trailing_zeros() } else { 0 };
        it.u32(1).u32(u32::from(MAX_PAGES) | alignment << 16);
        it.u32((init.flags >> 32) as u32);
        it.0.resize(64, 0);
        it
    }

    /// `fuse_entry_out`.
    pub fn entry(found: Found) -> Self {
        let mut it = Self::default();
        it.push_entry(found);
        it
    }

    fn push_entry(&mut self, found: Found) {
        let Lifetimes { name, attributes } = found.lifetimes;
        // Node ids are never used twice, so the generation is always the same.
        self.u64(found.node).u64(0).u64(name.as_secs()).u64(attributes.as_secs());
        self.u32(name.subsec_nanos()).u32(attributes.subsec_nanos());
        match found.shown {
            Some(shown) => self.push_attributes(shown),
            None => self.0.resize(self.0.len() + 88, 0),
        }
    }

    /// `fuse_attr_out`.
    pub fn attributes(shown: Shown, lifetime: Duration) -> Self {
        let mut it = Self::default();
        it.u64(lifetime.as_secs()).u32(lifetime.subsec_nanos()).u32(0);
        it.push_attributes(shown);
        it
    }

    /// `fuse_attr`.
    fn push_attributes(&mut self, Shown { inode, attributes: it, in_window }: Shown) {
        self.u64(inode).u64(it.size).u64(it.blocks);
        let times = [it.accessed, it.modified, it.changed];
        times.iter().for_each(|time| _ = self.u64(time.seconds.cast_unsigned()));
        times.iter().for_each(|time| _ = self.u32(time.nanos));
        self.u32(it.kind.bits() | it.mode).u32(it.links).u32(it.uid).u32(it.gid).u32(it.device).u32(it.block_size);
        self.u32(if in_window { numbers::ATTR_DAX } else { 0 });
    }

    /// `fuse_open_out`, behind whatever is there already (CREATE answers with an entry first).
    pub fn and_open(mut self, handle: u64, flags: u32) -> Self {
        self.u64(handle).u32(flags).u32(0);
        self
    }

    /// `fuse_write_out`, and the answer to GETXATTR and LISTXATTR that only ask for a size.
    pub fn size(size: u32) -> Self {
        let mut it = Self::default();
        it.u32(size).u32(0);
        it
    }

    /// `fuse_lseek_out`.
    pub fn offset(offset: u64) -> Self {
        let mut it = Self::default();
        it.u64(offset);
        it
    }

    /// `fuse_statfs_out`.
    pub fn space(space: &Space) -> Self {
        let mut it = Self::default();
        it.u64(space.blocks).u64(space.free).u64(space.available).u64(space.files).u64(space.files_free);
        it.u32(space.block_size).u32(space.longest_name).u32(space.unit).u32(0);
        it.0.resize(80, 0);
        it
    }
}

/// What a READDIR or READDIRPLUS answers: entries as long as there is room.
#[derive(Debug)]
pub struct Listing {
    payload: Payload,
    room: usize,
}

impl Listing {
    /// An empty one of at most `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { payload: Payload::default(), room }
    }

    /// Whether an entry with this name fits, with what READDIRPLUS says of it if `plus`.
    pub fn fits(&self, name: &[u8], plus: bool) -> bool {
        let len = if plus { ENTRY } else { 0 } + (DIRENT + name.len()).next_multiple_of(8);
        self.payload.0.len() + len <= self.room
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.payload.0.is_empty()
    }

    /// Adds an entry that [`fits`](Self::fits).
    pub fn push(&mut self, entry: &Entry, found: Option<Found>) {
        let start = self.payload.0.len();
        let kind = found.and_then(|found| found.shown).map(|shown| shown.attributes.kind).or(entry.kind);
        let inode = found.and_then(|found| found.shown).map_or(entry.inode, |shown| shown.inode);
        if let Some(found) = found {
            self.payload.push_entry(found);
        }
        // A name is at most 255 bytes long; type 0 is "not known".
        self.payload.u64(inode).u64(entry.next).u32(entry.name.len() as u32).u32(kind.map_or(0, Kind::entry_type));
        self.payload.0.extend_from_slice(entry.name);
        let padded = self.payload.0.len().next_multiple_of(8);
        self.payload.0.resize(padded, 0);
        debug_assert!(start.is_multiple_of(8) && padded <= self.room);
    }

    /// The answer.
    pub fn done(self) -> Payload {
        self.payload
    }
}
