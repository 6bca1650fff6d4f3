//! [`HostFs`] for macOS: `*at` calls on held descriptors, one checked name at a time and never through a link, since there is
//! neither `openat2` nor `O_PATH`. What a node is held by, and how it is opened for its content, is in `node`.
//!
//! APFS takes names that differ in case only for one, unless it was formatted otherwise, and nothing here fights that: a
//! container that makes `Makefile` and then `makefile` in a share has written one file twice, as a program on the host would
//! have. It also stores only UTF-8; other names fail with `EILSEQ`.

mod calls;
mod change;
mod content;
mod listing;
mod names;
mod node;
mod records;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Stat;
use vm_memory::VolatileSlice;

use self::content::Open;
use self::listing::Folder;
use self::node::Node;
use crate::sys::reports::{Names, Reports, Roots};
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::from_darwin;
use crate::virtio::fs::host::{
    Access, Allocation, Attributes, Change, Entry, HostFs, Identity, Kind, Maker, Rename, Seek, Setting, Space, Time,
};
use crate::virtio::fs::ownership::Remembered;
use crate::virtio::fs::watching::Watching;

type Outcome<T> = Result<T, Errno>;

/// The host's file system, as this process' user may use it.
#[derive(Debug)]
pub struct MacFs {
    /// Whom everything that is made here belongs to on the host.
    uid: u32,
    remembered: Remembered,
    roots: Roots,
}

impl Default for MacFs {
    fn default() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), remembered: Remembered::default(), roots: Roots::default() }
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    from_darwin(error.raw_os_error())
}

/// Of what went through the standard library.
fn io_errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, from_darwin)
}

/// As the host has it.
fn real(stat: &Stat) -> Attributes {
    let time = |seconds, nanos: i64| Time { seconds, nanos: nanos as u32 };
    let mode = u32::from(stat.st_mode);
    // Whatever macOS has beyond these is nothing that a guest could use.
    let kind = Kind::of(mode).unwrap_or(Kind::Socket);
    Attributes {
        identity: Identity {
            device: u64::from(stat.st_dev.cast_unsigned()),
            inode: stat.st_ino,
            birth: stat.st_birthtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_birthtime_nsec).cast_unsigned(),
        },
        kind,
        // Links have a mode here, which nobody looks at; on Linux it is always this one.
        mode: if kind == Kind::Link { 0o777 } else { mode & 0o7777 },
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: stat.st_nlink.into(),
        // A device of the host is none of the guest's, whatever number it has.
        device: 0,
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        block_size: stat.st_blksize.cast_unsigned(),
        accessed: time(stat.st_atime, stat.st_atime_nsec),
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        changed: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

impl HostFs for MacFs {
    type Node = Node;
    type File = Open;
    type Folder = Folder;

    fn root(&self, path: &Path) -> Outcome<Node> {
        let root = Node::root(path)?;
        self.roots.add(root.path()?);
        Ok(root)
    }

    fn watching(&self) -> Option<Box<dyn Watching<Node>>> {
        let names = Names { path: Node::path, name: |name| Some(name.as_bytes().to_vec()) };
        Some(Box::new(Reports::new(&self.roots, names)?))
    }

    fn look_up(&self, folder: &Node, name: Name) -> Outcome<Attributes> {
        // There is no call that reads the attributes of an entry without opening it.
        self.attributes(&Node::hold(folder, name)?)
    }

    fn hold(&self, folder: &Node, name: Name) -> Outcome<Node> {
        Node::hold(folder, name)
    }

    fn attributes(&self, node: &Node) -> Outcome<Attributes> {
        Ok(self.shown(node, node.real()?))
    }

    fn change(&self, node: &Node, file: Option<&Open>, change: &Change) -> Outcome<Attributes> {
        self.changed(node, file, change)
    }

    fn read_link(&self, node: &Node) -> Outcome<Vec<u8>> {
        let place = node.place()?;
        let target = rustix::fs::readlinkat(&place.folder, &*place.name, Vec::new()).map_err(errno)?;
        Ok(target.into_bytes())
    }

    fn make_folder(&self, folder: &Node, name: Name, maker: Maker) -> Outcome<Attributes> {
        self.new_folder(folder, name, maker)
    }

    fn make_node(&self, folder: &Node, name: Name, kind: Kind, device: u32, maker: Maker) -> Outcome<Attributes> {
        self.new_node(folder, name, (kind, device), maker)
    }

    fn make_link(&self, folder: &Node, name: Name, target: &[u8], maker: Maker) -> Outcome<Attributes> {
        self.new_link(folder, name, target, maker)
    }

    fn link(&self, node: &Node, folder: &Node, name: Name) -> Outcome<Attributes> {
        self.linked(node, folder, name)
    }

    fn remove(&self, folder: &Node, name: Name) -> Outcome<()> {
        names::remove(folder, name)
    }

    fn remove_folder(&self, folder: &Node, name: Name) -> Outcome<()> {
        names::remove_folder(folder, name)
    }

    fn rename(&self, from: (&Node, Name), to: (&Node, Name), how: Rename) -> Outcome<()> {
        names::rename(from, to, how)
    }

    fn open(&self, node: &Node, access: Access) -> Outcome<Open> {
        self.opened(node, access)
    }

    fn create(&self, folder: &Node, name: Name, access: Access, maker: Maker) -> Outcome<(Attributes, Open)> {
        self.created(folder, name, access, maker)
    }

    /// A copy of a descriptor that may write would keep that right.
    fn hold_open(&self, _: &Open) -> Option<Node> {
        None
    }

    /// There are no files without a name here, and one whose name was removed could not be given one again, which is half of
    /// what they are for. Programs know this answer, and make a file with a name.
    fn create_unnamed(&self, _: &Node, _: Access, _: Maker) -> Outcome<(Node, Attributes, Open)> {
        Err(Errno::OPNOTSUPP)
    }

    fn read(&self, file: &Open, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        file.read(offset, parts)
    }

    fn write(&self, file: &Open, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        file.write(offset, parts)
    }

    fn sync(&self, file: &Open, _: bool) -> Outcome<()> {
        // What reaches the medium at all takes the length and the place of the content with it.
        content::sync(&file.file)
    }

    fn closes_silently(&self, _: &Open) -> bool {
        // Which file systems do was not seen yet.
        false
    }

    fn flush(&self, file: &Open) -> Outcome<()> {
        // Closing a copy is what makes NFS and quotas speak; the file itself stays open.
        calls::close(rustix::io::dup(&file.file).map_err(errno)?)
    }

    fn allocate(&self, file: &Open, allocation: Allocation) -> Outcome<()> {
        content::allocate(&file.file, allocation)
    }

    fn seek(&self, file: &Open, offset: u64, seek: Seek) -> Outcome<u64> {
        content::seek(&file.file, offset, seek)
    }

    /// macOS clones whole files only. The guest then copies by itself, through its cache.
    fn copy(&self, _: (&Open, u64), _: (&Open, u64), _: u64) -> Outcome<usize> {
        Err(Errno::OPNOTSUPP)
    }

    fn open_folder(&self, node: &Node) -> Outcome<Folder> {
        Folder::open(node)
    }

    fn list(&self, folder: &mut Folder, from: u64, take: &mut dyn FnMut(Entry) -> bool) -> Outcome<()> {
        folder.list(from, take)
    }

    fn sync_folder(&self, folder: &Folder) -> Outcome<()> {
        folder.sync()
    }

    fn space(&self, node: &Node) -> Outcome<Space> {
        content::space(node)
    }

    fn sync_all(&self, node: &Node) -> Outcome<()> {
        let held: Arc<_> = node.descriptor()?;
        calls::sync_volume(&held)
    }

    fn extended(&self, node: &Node, name: &[u8]) -> Outcome<Vec<u8>> {
        records::extended(node, name)
    }

    fn list_extended(&self, node: &Node) -> Outcome<Vec<u8>> {
        records::list(node)
    }

    fn set_extended(&self, node: &Node, name: &[u8], value: &[u8], setting: Setting) -> Outcome<()> {
        records::set(node, name, value, setting)
    }

    fn remove_extended(&self, node: &Node, name: &[u8]) -> Outcome<()> {
        records::remove(node, name)
    }
}
