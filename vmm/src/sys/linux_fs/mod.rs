//! [`HostFs`] for Linux: `*at` calls on held descriptors, never on a path. One step down is `openat2` with `RESOLVE_BENEATH` and
//! without links; a kernel that has no `openat2` shares nothing. What is held is `O_PATH`; it is opened for its content by its
//! own entry in `/proc/self/fd`, which leads to nothing else.

mod change;
mod content;
mod kinds;
mod listing;
mod names;
mod recordless;
mod records;
mod watching;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, statx};
use vm_memory::VolatileSlice;

use self::listing::Folder;
use self::recordless::Recordless;
use self::records::At;
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::host::{
    Access, Allocation, Attributes, Change, Entry, HostFs, Identity, Kind, Maker, Rename, Seek, Setting, Space, Time,
};
use crate::virtio::fs::ownership::Remembered;
use crate::virtio::fs::watching::Watching;

type Outcome<T> = Result<T, Errno>;

/// The host's file system, as this process' user may use it.
#[derive(Debug)]
pub struct LinuxFs {
    /// Whom everything that is made here belongs to on the host.
    uid: u32,
    remembered: Remembered,
    recordless: Recordless,
}

/// What is held: an `O_PATH` descriptor.
#[derive(Debug)]
pub struct Node(OwnedFd);

impl Node {
    /// The one path there is to it.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

impl Default for LinuxFs {
    fn default() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            remembered: Remembered::default(),
            recordless: Recordless::default(),
        }
    }
}

/// One step down, to what lies there itself.
const STEP: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);
const HELD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::linux(error.raw_os_error())
}

/// Of what went through the standard library.
fn io_errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::linux)
}

/// As the host has it.
fn real(stat: &Statx) -> Attributes {
    let time = |time: &rustix::fs::StatxTimestamp| Time { seconds: time.tv_sec, nanos: time.tv_nsec };
    let mode = u32::from(stat.stx_mode);
    let birth = if stat.stx_mask & StatxFlags::BTIME.bits() != 0 {
        stat.stx_btime.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(stat.stx_btime.tv_nsec.into())
    } else {
        0
    };
    Attributes {
        identity: Identity {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            birth,
        },
        // Linux has no other kinds.
        kind: Kind::of(mode).unwrap_or(Kind::Socket),
        mode: mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        links: stat.stx_nlink,
        // A device of the host is none of the guest's, whatever number it has.
        device: 0,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        block_size: stat.stx_blksize,
        accessed: time(&stat.stx_atime),
        modified: time(&stat.stx_mtime),
        changed: time(&stat.stx_ctime),
    }
}

impl LinuxFs {
    /// What a held object is on the host.
    fn real(&self, node: &Node) -> Outcome<Attributes> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(&node.0, c"", flags, WANTED).map(|stat| real(&stat)).map_err(errno)
    }

    /// Does something in folders, once more if one of them is ours and its mode kept even us out: that the container's user may
    /// do it, the guest's kernel has found already.
    fn within<T>(&self, folders: &[&Node], mut act: impl FnMut() -> Outcome<T>) -> Outcome<T> {
        match act() {
            Err(Errno::ACCES) => {
                let mut opened = false;
                for folder in folders {
                    if self.real(folder)?.mode & 0o700 != 0o700 {
                        self.let_us_in(folder)?;
                        opened = true;
                    }
                }
                if opened { act() } else { Err(Errno::ACCES) }
            }
            other => other,
        }
    }

    fn step(&self, folder: &Node, name: Name) -> Outcome<Node> {
        // `EAGAIN` is what a race with a renaming gives; it cannot go on for ever.
        for _ in 0..16 {
            match openat2(&folder.0, name.bytes(), HELD, Mode::empty(), STEP) {
                Err(rustix::io::Errno::AGAIN) => {}
                other => return other.map(Node).map_err(errno),
            }
        }
        Err(Errno::AGAIN)
    }
}

impl HostFs for LinuxFs {
    type Node = Node;
    type File = std::fs::File;
    type Folder = Folder;

    fn root(&self, path: &Path) -> Outcome<Node> {
        let node =
            openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(errno)?;
        // Fails here, not at the guest's first step, where the kernel cannot keep the promise.
        openat2(&node, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), STEP).map_err(errno)?;
        Ok(Node(node))
    }

    fn watching(&self) -> Option<Box<dyn Watching<Node>>> {
        // Without inotify, or when the user has too many of its queues, nothing is reported.
        watching::Inotify::new().ok().map(|watching| Box::new(watching) as Box<dyn Watching<Node>>)
    }

    fn look_up(&self, folder: &Node, name: Name) -> Outcome<Attributes> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = self.within(&[folder], || statx(&folder.0, name.bytes(), flags, WANTED).map_err(errno))?;
        Ok(self.shown(real(&stat), At::Entry(folder, name)))
    }

    fn hold(&self, folder: &Node, name: Name) -> Outcome<Node> {
        self.within(&[folder], || self.step(folder, name))
    }

    fn attributes(&self, node: &Node) -> Outcome<Attributes> {
        Ok(self.shown(self.real(node)?, At::Held(node)))
    }

    fn change(&self, node: &Node, file: Option<&std::fs::File>, change: &Change) -> Outcome<Attributes> {
        self.changed(node, file, change)
    }

    fn read_link(&self, node: &Node) -> Outcome<Vec<u8>> {
        rustix::fs::readlinkat(&node.0, c"", Vec::new()).map(|target| target.into_bytes()).map_err(errno)
    }

    fn make_folder(&self, folder: &Node, name: Name, maker: Maker) -> Outcome<Attributes> {
        self.within(&[folder], || self.new_folder(folder, name, maker))
    }

    fn make_node(&self, folder: &Node, name: Name, kind: Kind, device: u32, maker: Maker) -> Outcome<Attributes> {
        self.within(&[folder], || self.new_node(folder, name, kind, device, maker))
    }

    fn make_link(&self, folder: &Node, name: Name, target: &[u8], maker: Maker) -> Outcome<Attributes> {
        self.within(&[folder], || self.new_link(folder, name, target, maker))
    }

    fn link(&self, node: &Node, folder: &Node, name: Name) -> Outcome<Attributes> {
        let flags = AtFlags::SYMLINK_FOLLOW;
        self.within(&[folder], || rustix::fs::linkat(CWD, node.path(), &folder.0, name.bytes(), flags).map_err(errno))?;
        self.attributes(node)
    }

    fn remove(&self, folder: &Node, name: Name) -> Outcome<()> {
        self.within(&[folder], || rustix::fs::unlinkat(&folder.0, name.bytes(), AtFlags::empty()).map_err(errno))
    }

    fn remove_folder(&self, folder: &Node, name: Name) -> Outcome<()> {
        self.within(&[folder], || rustix::fs::unlinkat(&folder.0, name.bytes(), AtFlags::REMOVEDIR).map_err(errno))
    }

    fn rename(&self, from: (&Node, Name), to: (&Node, Name), how: Rename) -> Outcome<()> {
        self.within(&[from.0, to.0], || names::rename(from, to, how))
    }

    fn open(&self, node: &Node, access: Access) -> Outcome<std::fs::File> {
        self.opened(node, access)
    }

    fn create(&self, folder: &Node, name: Name, access: Access, maker: Maker) -> Outcome<(Attributes, std::fs::File)> {
        self.within(&[folder], || self.created(folder, name, access, maker))
    }

    fn hold_open(&self, file: &std::fs::File) -> Option<Node> {
        content::held(file).ok()
    }

    fn create_unnamed(
        &self,
        folder: &Node,
        access: Access,
        maker: Maker,
    ) -> Outcome<(Node, Attributes, std::fs::File)> {
        self.within(&[folder], || self.created_unnamed(folder, access, maker))
    }

    fn mappable(&self, file: std::fs::File) -> Option<std::fs::File> {
        Some(file)
    }

    fn make_room(&self, file: &std::fs::File, offset: u64, len: u64) -> Outcome<()> {
        content::make_room(file, offset, len)
    }

    fn read(&self, file: &std::fs::File, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        content::read(file, offset, parts)
    }

    fn write(&self, file: &std::fs::File, offset: u64, parts: &[VolatileSlice]) -> Outcome<usize> {
        content::write(file, offset, parts)
    }

    fn sync(&self, file: &std::fs::File, data_only: bool) -> Outcome<()> {
        let done = if data_only { file.sync_data() } else { file.sync_all() };
        done.map_err(|error| io_errno(&error))
    }

    fn closes_silently(&self, file: &std::fs::File) -> bool {
        kinds::closes_silently(kinds::of(file))
    }

    fn flush(&self, file: &std::fs::File) -> Outcome<()> {
        // Closing a copy is what makes NFS and quotas speak; the file itself stays open.
        let copy = rustix::io::dup(file).map_err(errno)?;
        content::close(copy)
    }

    fn allocate(&self, file: &std::fs::File, allocation: Allocation) -> Outcome<()> {
        content::allocate(file, allocation)
    }

    fn seek(&self, file: &std::fs::File, offset: u64, seek: Seek) -> Outcome<u64> {
        content::seek(file, offset, seek)
    }

    fn copy(&self, from: (&std::fs::File, u64), to: (&std::fs::File, u64), len: u64) -> Outcome<usize> {
        content::copy(from, to, len)
    }

    fn open_folder(&self, node: &Node) -> Outcome<Folder> {
        self.within(&[node], || Folder::open(node))
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
        self.open_folder(node)?.sync_all()
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

#[cfg(test)]
mod tests;
