//! Numbers of the FUSE protocol: versions, flags and limits that both directions need.

/// The version spoken; a newer kernel speaks the older one of the two.
pub const MAJOR: u32 = 7;
/// See [`MAJOR`]. 7.38 is the newest whose every message is known here.
pub const MINOR: u32 = 38;
/// The oldest kernel's that is served (7.31, Linux 5.4): before it some structures are shorter.
pub const OLDEST_MINOR: u32 = 31;

/// Flags of INIT: the low half is `flags`, the high half `flags2`.
pub mod init {
    /// Several reads of one file at once.
    pub const ASYNC_READ: u64 = 1 << 0;
    /// `open` with `O_TRUNC` empties the file by itself.
    pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
    /// Writes of more than a page.
    pub const BIG_WRITES: u64 = 1 << 5;
    /// Cached pages go when a file's time or size changed.
    pub const AUTO_INVAL_DATA: u64 = 1 << 12;
    /// READDIRPLUS is there.
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    /// The kernel decides when to use it.
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    /// Direct I/O may be asynchronous.
    pub const ASYNC_DIO: u64 = 1 << 15;
    /// Lookups and listings of one folder at once.
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    /// `max_pages` counts.
    pub const MAX_PAGES: u64 = 1 << 22;
    /// `map_alignment` counts.
    pub const MAP_ALIGNMENT: u64 = 1 << 26;
    /// What a link says is cached.
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    /// A folder need not be opened before it is listed, and its list may be cached.
    pub const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    /// Set-id bits go when the kernel says so, and it need not ask for `security.capability` at each write.
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    /// SETXATTR has more fields.
    pub const SETXATTR_EXT: u64 = 1 << 29;
    /// `flags2` counts.
    pub const INIT_EXT: u64 = 1 << 30;
    /// Which files are mapped from the window is said of each.
    pub const HAS_INODE_DAX: u64 = 1 << 33;
    /// A file may be mapped although it is open for direct I/O.
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
}

/// What an answer to OPEN allows the kernel.
pub mod open {
    /// Nothing is cached; every read and write is asked for.
    pub const DIRECT_IO: u32 = 1;
    /// Cached pages stay.
    pub const KEEP_CACHE: u32 = 1 << 1;
    /// The list of a folder may be cached.
    pub const CACHE_DIR: u32 = 1 << 3;
    /// No FLUSH at close.
    pub const NOFLUSH: u32 = 1 << 5;
}

/// Of `fuse_attr`: this file is mapped from the window.
pub const ATTR_DAX: u32 = 1 << 1;

/// Pages of 4 KiB in one READ or WRITE, at most: 1 MiB, the most that Linux sends.
pub const MAX_PAGES: u16 = 256;
/// Bytes in one WRITE, at most.
pub const MAX_WRITE: u32 = MAX_PAGES as u32 * 4096;
/// Bytes of the longest request without a file's content: a SETXATTR with a name and 64 KiB, with room to spare; a
/// BATCH_FORGET is at most this long, too.
pub const LONGEST_HEAD: usize = 128 << 10;
