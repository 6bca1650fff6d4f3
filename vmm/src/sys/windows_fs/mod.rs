//! [`HostFs`] for Windows, on NTFS and ReFS, and with less on what is none of these (FAT, exFAT, networks): calls of the kernel that
//! go one checked name from a handle of a folder, or to an object by its number, and never do what a link or a junction says. Everything is opened so that other programs may read,
//! write, rename and remove it meanwhile; those of them that are less polite keep a container out with `EBUSY`.
//!
//! Names that differ in case only are one, unless a folder was told otherwise, and nothing here fights that: a container that
//! makes `Makefile` and then `makefile` in a share has written one file twice, as a program on the host would have.

mod attributes;
mod change;
mod content;
mod listing;
mod names;
mod node;
mod nodes;
mod nt;
mod place;
mod records;
mod volume;

use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use vm_memory::VolatileSlice;

use self::content::Open;
use self::listing::Folder;
use self::node::{LOOK, Node};
use self::nodes::Nodes;
use crate::sys::reports::{Names, Reports, Roots};
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::from_wide;
use crate::virtio::fs::host::{
    Access, Allocation, Attributes, Change, Entry, HostFs, Kind, Maker, Rename, Seek, Setting, Space,
};
use crate::virtio::fs::ownership::Remembered;
use crate::virtio::fs::watching::Watching;

type Outcome<T> = Result<T, Errno>;

/// The host's file system, as this process' user may use it.
#[derive(Debug, Default)]
pub struct WindowsFs {
    nodes: Nodes,
    remembered: Remembered,
    roots: Roots,
}

impl HostFs for WindowsFs {
    type Node = Node;
    type File = Open;
    type Folder = Folder;

    fn root(&self, path: &Path) -> Outcome<Node> {
        let root = self.nodes.root(path)?;
        self.roots.add(root.path()?);
        Ok(root)
    }

    fn watching(&self) -> Option<Box<dyn Watching<Node>>> {
        let names = Names { path: Node::path, name: |name| from_wide(&name.encode_wide().collect::<Vec<u16>>()) };
        Some(Box::new(Reports::new(&self.roots, names)?))
    }

    fn look_up(&self, folder: &Node, name: Name) -> Outcome<Attributes> {
        let (node, real) = self.nodes.hold(folder, name)?;
        Ok(self.shown(&node, real.shown))
    }

    fn hold(&self, folder: &Node, name: Name) -> Outcome<Node> {
        Ok(self.nodes.hold(folder, name)?.0)
    }

    fn attributes(&self, node: &Node) -> Outcome<Attributes> {
        Ok(self.shown(node, node.real()?.shown))
    }

    fn change(&self, node: &Node, file: Option<&Open>, change: &Change) -> Outcome<Attributes> {
        self.changed(node, file, change)
    }

    fn read_link(&self, node: &Node) -> Outcome<Vec<u8>> {
        attributes::read_link(&node.open(LOOK)?)
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
        self.unlinked(folder, name, false)
    }

    fn remove_folder(&self, folder: &Node, name: Name) -> Outcome<()> {
        self.unlinked(folder, name, true)
    }

    fn rename(&self, from: (&Node, Name), to: (&Node, Name), how: Rename) -> Outcome<()> {
        self.renamed(from, to, how)
    }

    fn open(&self, node: &Node, access: Access) -> Outcome<Open> {
        content::open(node, access)
    }

    fn create(&self, folder: &Node, name: Name, access: Access, maker: Maker) -> Outcome<(Attributes, Open)> {
        self.created(folder, name, access, maker)
    }

    /// A node is a number or a place, and neither leads to what has no name.
    fn hold_open(&self, _: &Open) -> Option<Node> {
        None
    }

    /// A file here is made with a name, and once that is removed it could not be given one again, which is half of what such
    /// files are for. Programs know this answer, and make a file with a name.
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
        content::sync(&file.file)
    }

    fn closes_silently(&self, _: &Open) -> bool {
        // Nothing is held back until then.
        true
    }

    fn flush(&self, _: &Open) -> Outcome<()> {
        // Nothing is held back until a file is closed.
        Ok(())
    }

    fn allocate(&self, file: &Open, allocation: Allocation) -> Outcome<()> {
        content::allocate(&file.file, allocation)
    }

    fn seek(&self, file: &Open, offset: u64, seek: Seek) -> Outcome<u64> {
        content::seek(&file.file, offset, seek)
    }

    /// Only ReFS shares content between files. The guest then copies by itself, through its cache.
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

    /// A whole volume is for administrators to flush, and to say that it was done would be a lie.
    fn sync_all(&self, _: &Node) -> Outcome<()> {
        Err(Errno::OPNOTSUPP)
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
