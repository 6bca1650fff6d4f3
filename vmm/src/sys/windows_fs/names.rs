//! Making, renaming and removing entries, as POSIX has it: a name that is removed is free at once, whoever has the object open.

use std::os::windows::io::OwnedHandle;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_RENAME_IGNORE_READONLY_ATTRIBUTE,
    FILE_RENAME_POSIX_SEMANTICS, FILE_RENAME_REPLACE_IF_EXISTS, FileLinkInformation, FileRenameInformation,
    FileRenameInformationEx,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_DISPOSITION_FLAG_DELETE, FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE,
    FILE_DISPOSITION_FLAG_POSIX_SEMANTICS, FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA,
};
use windows_sys::Win32::System::Ioctl::FSCTL_SET_REPARSE_POINT;

use super::attributes::Real;
use super::content::{self, Open, how};
use super::node::{LOOK, Node};
use super::nodes::{Last, loses_last};
use super::nt::{self, How, io_errno};
use super::{Outcome, WindowsFs};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::{link_data, to_wide};
use crate::virtio::fs::host::{Access, Attributes, HostFs, Kind, Maker, Rename};

/// Opens an entry to take its name away.
const TAKE: How = How { access: DELETE | FILE_READ_ATTRIBUTES, disposition: FILE_OPEN, options: 0, follow: false };
/// Makes one.
const MAKE: How = How {
    access: FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | FILE_WRITE_DATA,
    disposition: FILE_CREATE,
    options: 0,
    follow: false,
};
/// As POSIX has it, which knows no mark against removing.
const REMOVE: u32 = FILE_DISPOSITION_FLAG_DELETE
    | FILE_DISPOSITION_FLAG_POSIX_SEMANTICS
    | FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE;
const RENAME: u32 = FILE_RENAME_POSIX_SEMANTICS | FILE_RENAME_IGNORE_READONLY_ATTRIBUTE;

impl WindowsFs {
    /// Removes a name of what is a folder, or of what is none.
    pub(super) fn unlinked(&self, folder: &Node, name: Name, wants_folder: bool) -> Outcome<()> {
        self.taken(folder, &folder.enter(name, TAKE)?, wants_folder)
    }

    /// The same, of what is open so that it can be removed.
    fn taken(&self, folder: &Node, open: &OwnedHandle, wants_folder: bool) -> Outcome<()> {
        let real = self.nodes.real(folder, open)?;
        match (real.shown.kind == Kind::Folder, wants_folder) {
            (true, false) => return Err(Errno::ISDIR),
            (false, true) => return Err(Errno::NOTDIR),
            _ => {}
        }
        let last = self.nodes.last(folder, open, &real);
        match (nt::remove(open, Some(REMOVE)), last) {
            // A file system that does not know how POSIX has it: the name stays until the last handle is closed, so none is
            // kept.
            (Err(Errno::INVAL | Errno::OPNOTSUPP), _) => nt::remove(open, None)?,
            (Ok(()), Some(last)) => last.keep(),
            (done, _) => done?,
        }
        if loses_last(&real) {
            self.lost(folder, &real);
        }
        Ok(())
    }

    /// What was something in a folder is there no more.
    fn lost(&self, folder: &Node, real: &Real) {
        self.nodes.removed(real, folder);
        // Its number may be another's soon.
        self.remembered.set(real.shown.identity, None);
    }

    pub(super) fn renamed(&self, from: (&Node, Name), to: (&Node, Name), how: Rename) -> Outcome<()> {
        let replace = match how {
            Rename::Replace => FILE_RENAME_REPLACE_IF_EXISTS,
            Rename::Keep => 0,
            // Nothing here does it in one step. This is what Linux says of a file system that cannot.
            Rename::Exchange => return Err(Errno::INVAL),
        };
        let (target, name) = (to.0.folder()?, to_wide(to.1)?);
        let moved = from.0.enter(from.1, TAKE)?;
        let real = self.nodes.real(from.0, &moved)?;
        let mut there = if replace != 0 { self.replaced(&real, to)? } else { None };
        let turn = self.nodes.turn(to.0);
        let step = |flags, there: &mut Option<(Real, Option<Last>)>| {
            match nt::name(&moved, FileRenameInformationEx, RENAME | flags, &target, &name) {
                // A file system that does not know how POSIX has it, which replaces nothing that is open. The one flag that is
                // left is the same there.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    *there = there.take().map(|(gone, _)| (gone, None));
                    nt::name(&moved, FileRenameInformation, flags, &target, &name)
                }
                other => other,
            }
        };
        match (step(replace, &mut there), there) {
            // Windows may put no folder in another one's place, so the empty one goes first. In between there is none, which
            // POSIX would not show.
            (Err(Errno::ACCES | Errno::EXIST), Some((gone, _))) if gone.shown.kind == Kind::Folder => {
                let entry = |how| to.0.0.volume.enter(&target, &name, how);
                self.taken(to.0, &entry(TAKE)?, true)?;
                let folder = How { options: FILE_DIRECTORY_FILE, ..MAKE };
                step(0, &mut None).inspect_err(|_| _ = entry(folder))?;
            }
            (Ok(()), Some((gone, last))) => {
                if let Some(last) = last {
                    last.keep();
                }
                if loses_last(&gone) {
                    self.lost(to.0, &gone);
                }
            }
            (done, _) => done?,
        }
        self.nodes.moved(&real, &moved, to.0, &name);
        drop(turn);
        Ok(())
    }

    /// What is about to lose its name to an object that is renamed.
    fn replaced(&self, moved: &Real, to: (&Node, Name)) -> Outcome<Option<(Real, Option<Last>)>> {
        let there = match to.0.enter(to.1, LOOK) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let real = self.nodes.real(to.0, &there)?;
        // Its own other name, or the same one in another case.
        if real.shown.identity == moved.shown.identity {
            return Ok(None);
        }
        match (moved.shown.kind == Kind::Folder, real.shown.kind == Kind::Folder) {
            (false, true) => Err(Errno::ISDIR),
            (true, false) => Err(Errno::NOTDIR),
            _ => {
                let last = self.nodes.last(to.0, &there, &real);
                Ok(Some((real, last)))
            }
        }
    }

    pub(super) fn linked(&self, node: &Node, folder: &Node, name: Name) -> Outcome<Attributes> {
        if node.real()?.shown.kind == Kind::Folder {
            return Err(Errno::PERM);
        }
        let open = node.open(How { access: FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES, ..LOOK })?;
        let linked = nt::name(&open, FileLinkInformation, 0, &folder.folder()?, &to_wide(name)?);
        linked.map_err(|error| match error {
            // A file system with one name for each, as Linux says it of such. The name is one that may be.
            Errno::INVAL | Errno::OPNOTSUPP => Errno::PERM,
            other => other,
        })?;
        self.attributes(node)
    }

    /// Removes what was made and could not be made ready. What is stale is somebody else's by now, and stays.
    fn take_back(&self, folder: &Node, name: Name, is_folder: bool, error: Errno) {
        if error != Errno::STALE {
            _ = self.unlinked(folder, name, is_folder);
        }
    }

    pub(super) fn new_folder(&self, folder: &Node, name: Name, maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Folder, maker)?;
        let made = folder.enter(name, How { options: FILE_DIRECTORY_FILE, ..MAKE })?;
        let settled = self.made(folder, name, &made, maker, None);
        settled.inspect_err(|error| self.take_back(folder, name, true, *error))
    }

    pub(super) fn new_node(&self, folder: &Node, name: Name, what: (Kind, u32), maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, what.0, maker)?;
        let made = folder.enter(name, How { options: FILE_NON_DIRECTORY_FILE, ..MAKE })?;
        let settled = self.made(folder, name, &made, maker, (what.0 != Kind::File).then_some(what));
        settled.inspect_err(|error| self.take_back(folder, name, false, *error))
    }

    pub(super) fn new_link(&self, folder: &Node, name: Name, target: &[u8], maker: Maker) -> Outcome<Attributes> {
        let maker = self.heir(folder, Kind::Link, maker)?;
        let made = folder.enter(name, How { options: FILE_NON_DIRECTORY_FILE, ..MAKE })?;
        let said = nt::control(&made, FSCTL_SET_REPARSE_POINT, &link_data(target), &mut [0_u8; 0]);
        let said = said.map_err(|error| match io_errno(&error) {
            // As Linux says it of a file system that has none.
            Errno::OPNOTSUPP => Errno::PERM,
            other => other,
        });
        let settled = said.and_then(|_| self.made(folder, name, &made, maker, None));
        settled.inspect_err(|error| self.take_back(folder, name, false, *error))
    }

    pub(super) fn created(
        &self,
        folder: &Node,
        name: Name,
        access: Access,
        maker: Maker,
    ) -> Outcome<(Attributes, Open)> {
        let heir = self.heir(folder, Kind::File, maker)?;
        match folder.enter(name, how(access, FILE_CREATE)) {
            Ok(made) => {
                let settled = self.made(folder, name, &made, heir, None);
                let settled = settled.inspect_err(|error| self.take_back(folder, name, false, *error))?;
                Ok((settled, Open::new(made, access)))
            }
            Err(Errno::EXIST) if !access.exclusive => {
                let (node, _) = self.nodes.hold(folder, name)?;
                let file = content::open(&node, access)?;
                Ok((self.attributes(&node)?, file))
            }
            Err(error) => Err(error),
        }
    }

    fn heir(&self, folder: &Node, kind: Kind, maker: Maker) -> Outcome<Maker> {
        Ok(owners::heir(&self.attributes(folder)?, kind, maker))
    }

    fn made(
        &self,
        folder: &Node,
        name: Name,
        made: &OwnedHandle,
        maker: Maker,
        kind: Option<(Kind, u32)>,
    ) -> Outcome<Attributes> {
        let real = self.nodes.real(folder, made)?;
        let node = self.nodes.held(folder, name, &real)?;
        self.keep_record(&node, &real.shown, owners::first(maker, &real.shown, kind))?;
        self.attributes(&node)
    }
}
