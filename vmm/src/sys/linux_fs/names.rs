//! Making and renaming entries. What is made belongs to the host's user there; what a container sees of it is settled right
//! after, before anybody is told of it.

use std::fs::File;

use rustix::fs::{Mode, OFlags, RenameFlags, mkdirat, openat2, renameat_with, symlinkat};

use super::content::{self, flags};
use super::records::At;
use super::{LinuxFs, Node, Outcome, STEP, errno};
use crate::sys::owners;
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
    renameat_with(&from.0.0, from.1.bytes(), &to.0.0, to.1.bytes(), flags).map_err(errno)
}

impl LinuxFs {
    pub(super) fn new_folder(&self, folder: &Node, name: Name, maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Folder, maker)?;
        let mode = Mode::from_raw_mode(kept(Kind::Folder, maker.mode));
        mkdirat(&folder.0, name.bytes(), mode).map_err(errno)?;
        let made = self.step(folder, name).and_then(|node| self.made(&node, maker, None));
        made.inspect_err(|_| _ = self.remove_folder(folder, name))
    }

    pub(super) fn new_node(
        &self,
        folder: &Node,
        name: Name,
        kind: Kind,
        device: u32,
        maker: Maker,
    ) -> Outcome<Attributes> {
        let maker = self.heir(folder, kind, maker)?;
        drop(self.new_file(folder, name, OFlags::WRONLY, maker)?);
        let recorded = (kind != Kind::File).then_some((kind, device));
        let made = self.step(folder, name).and_then(|node| self.made(&node, maker, recorded));
        made.inspect_err(|_| _ = self.remove(folder, name))
    }

    pub(super) fn new_link(&self, folder: &Node, name: Name, target: &[u8], maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Link, maker)?;
        symlinkat(target, &folder.0, name.bytes()).map_err(errno)?;
        let made = self.step(folder, name).and_then(|node| self.made(&node, maker, None));
        made.inspect_err(|_| _ = self.remove(folder, name))
    }

    pub(super) fn created(
        &self,
        folder: &Node,
        name: Name,
        access: Access,
        maker: Maker,
    ) -> Outcome<(Attributes, File)> {
        let heir = self.heir(folder, Kind::File, maker)?;
        match self.new_file(folder, name, flags(access), heir) {
            Ok(file) => {
                let made = self.step(folder, name).and_then(|node| self.made(&node, heir, None));
                Ok((made.inspect_err(|_| _ = self.remove(folder, name))?, file))
            }
            Err(Errno::EXIST) if !access.exclusive => {
                let node = self.step(folder, name)?;
                let file = self.opened(&node, access)?;
                Ok((self.attributes(&node)?, file))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn created_unnamed(
        &self,
        folder: &Node,
        access: Access,
        maker: Maker,
    ) -> Outcome<(Node, Attributes, File)> {
        let heir = self.heir(folder, Kind::File, maker)?;
        let flags = flags(Access { truncate: false, ..access }) | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(kept(Kind::File, heir.mode));
        let file = File::from(openat2(&folder.0, c".", flags, mode, STEP).map_err(errno)?);
        let node = content::held(&file)?;
        let attributes = self.made(&node, heir, None)?;
        Ok((node, attributes, file))
    }

    fn new_file(&self, folder: &Node, name: Name, flags: OFlags, maker: Maker) -> Outcome<File> {
        let flags = (flags & !OFlags::TRUNC) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(kept(Kind::File, maker.mode));
        openat2(&folder.0, name.bytes(), flags, mode, STEP).map(File::from).map_err(errno)
    }

    /// What a new object in `folder` gets from it.
    fn heir(&self, folder: &Node, kind: Kind, maker: Maker) -> Outcome<Maker> {
        Ok(owners::heir(&self.shown(self.real(folder)?, At::Held(folder)), kind, maker))
    }

    fn made(&self, node: &Node, maker: Maker, kind: Option<(Kind, u32)>) -> Outcome<Attributes> {
        let real = self.real(node)?;
        let record = owners::first(maker, &real, kind);
        // There is nothing beside what has just been made, so nothing to take away or to look for if the host has it as it is to
        // be seen.
        if owners::is_plain(&record, &real) && self.remembered.get(&real.identity).is_none() {
            return Ok(real);
        }
        self.settle(node, &real, record)?;
        Ok(self.shown(self.real(node)?, At::Held(node)))
    }
}
