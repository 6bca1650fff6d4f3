//! Making, renaming and removing entries. What is made belongs to the host's user there; what a container sees of it is settled
//! right after, before anybody is told of it.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat_with, symlinkat, unlinkat};

use super::content::Open;
use super::node::Node;
use super::{MacFs, Outcome, errno};
use crate::sys::{owners, posix};
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::host::{Access, Attributes, HostFs, Kind, Maker, Rename};
use crate::virtio::fs::ownership::kept;

pub(super) fn rename(from: (&Node, Name), to: (&Node, Name), how: Rename) -> Outcome<()> {
    let flags = match how {
        Rename::Replace => RenameFlags::empty(),
        Rename::Keep => RenameFlags::NOREPLACE,
        Rename::Exchange => RenameFlags::EXCHANGE,
    };
    let folders = (from.0.descriptor()?, to.0.descriptor()?);
    renameat_with(&folders.0, from.1.bytes(), &folders.1, to.1.bytes(), flags).map_err(errno)
}

pub(super) fn remove(folder: &Node, name: Name) -> Outcome<()> {
    let removed = unlinkat(folder.descriptor()?, name.bytes(), AtFlags::empty()).map_err(errno);
    // What macOS says of a folder, Linux says of what must not be removed.
    let is_folder =
        || Node::hold(folder, name).and_then(|node| node.real()).is_ok_and(|real| real.kind == Kind::Folder);
    match removed {
        Err(Errno::PERM) if is_folder() => Err(Errno::ISDIR),
        other => other,
    }
}

pub(super) fn remove_folder(folder: &Node, name: Name) -> Outcome<()> {
    unlinkat(folder.descriptor()?, name.bytes(), AtFlags::REMOVEDIR).map_err(errno)
}

impl MacFs {
    pub(super) fn new_folder(&self, folder: &Node, name: Name, maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Folder, maker)?;
        mkdirat(folder.descriptor()?, name.bytes(), left(Kind::Folder, maker)).map_err(errno)?;
        let made = self.made(folder, name, maker, None);
        made.inspect_err(|_| _ = self.remove_folder(folder, name))
    }

    pub(super) fn new_node(&self, folder: &Node, name: Name, what: (Kind, u32), maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, what.0, maker)?;
        drop(new_file(folder, name, OFlags::WRONLY, maker)?);
        let made = self.made(folder, name, maker, (what.0 != Kind::File).then_some(what));
        made.inspect_err(|_| _ = self.remove(folder, name))
    }

    pub(super) fn new_link(&self, folder: &Node, name: Name, target: &[u8], maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Link, maker)?;
        symlinkat(target, folder.descriptor()?, name.bytes()).map_err(errno)?;
        let made = self.made(folder, name, maker, None);
        made.inspect_err(|_| _ = self.remove(folder, name))
    }

    pub(super) fn linked(&self, node: &Node, folder: &Node, name: Name) -> Outcome<Attributes> {
        let (place, folder_open) = (node.place()?, folder.descriptor()?);
        // A descriptor cannot be linked, only a name: what got the new one is looked at.
        linkat(&place.folder, &*place.name, &folder_open, name.bytes(), AtFlags::empty()).map_err(errno)?;
        let identity = node.real()?.identity;
        if Node::hold(folder, name)?.real()?.identity != identity {
            self.remove(folder, name)?;
            return Err(Errno::STALE);
        }
        self.attributes(node)
    }

    pub(super) fn created(
        &self,
        folder: &Node,
        name: Name,
        access: Access,
        maker: Maker,
    ) -> Outcome<(Attributes, Open)> {
        let heir = self.heir(folder, Kind::File, maker)?;
        match new_file(folder, name, posix::flags(access), heir) {
            Ok(file) => {
                let made = self.made(folder, name, heir, None);
                Ok((made.inspect_err(|_| _ = self.remove(folder, name))?, Open::new(file, access)))
            }
            Err(Errno::EXIST) if !access.exclusive => {
                let node = Node::hold(folder, name)?;
                let file = self.opened(&node, access)?;
                Ok((self.attributes(&node)?, file))
            }
            Err(error) => Err(error),
        }
    }

    fn heir(&self, folder: &Node, kind: Kind, maker: Maker) -> Outcome<Maker> {
        Ok(owners::heir(&self.attributes(folder)?, kind, maker))
    }

    fn made(&self, folder: &Node, name: Name, maker: Maker, kind: Option<(Kind, u32)>) -> Outcome<Attributes> {
        let node = Node::hold(folder, name)?;
        let real = node.real()?;
        self.settle(&node, &real, owners::first(maker, &real, kind))?;
        self.attributes(&node)
    }
}

fn new_file(folder: &Node, name: Name, flags: OFlags, maker: Maker) -> Outcome<OwnedFd> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder.descriptor()?, name.bytes(), flags, left(Kind::File, maker)).map_err(errno)
}

/// With which mode it is left on the host.
fn left(kind: Kind, maker: Maker) -> Mode {
    Mode::from_bits_retain(kept(kind, maker.mode) as u16)
}
