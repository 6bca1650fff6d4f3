//! Requests about names: finding, making, removing and renaming objects.

use super::lifetimes::ONCE;
use super::places::Place;
use super::{Answer, Outcome, Server, done};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::reply::{Found, Lifetimes, Payload};
use crate::virtio::fs::fuse::request::Header;
use crate::virtio::fs::host::{Attributes, HostFs, Kind, Maker, Rename};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::ROOT;

/// Longest text of a symbolic link in bytes, its NUL aside (`PATH_MAX`).
const LONGEST_LINK: usize = 4095;
/// `RENAME_NOREPLACE`
const NO_REPLACE: u32 = 1;
/// `RENAME_EXCHANGE`
const EXCHANGE: u32 = 2;

impl<H: HostFs> Server<H> {
    pub(in crate::virtio::fs) fn look_up(&self, folder: u64, name: Name) -> Outcome {
        if folder == ROOT {
            return self.look_up_share(name);
        }
        let place = self.place(folder)?;
        let reported = self.reported(&place);
        match self.see(&place.held, name) {
            Ok(attributes) => {
                let node = self.tell(&place, name, &attributes);
                let lifetimes = Self::lifetimes(reported.as_ref(), name, node, &attributes);
                Ok(Answer::Payload(Payload::entry(Found { node, shown: Some(self.shown(&attributes)), lifetimes })))
            }
            // That there is none may be remembered, too.
            Err(Errno::NOENT) => {
                let lifetime = Self::lifetime_of_nothing(reported.as_ref(), name);
                let lifetimes = Lifetimes { name: lifetime, attributes: lifetime };
                Ok(Answer::Payload(Payload::entry(Found { node: 0, shown: None, lifetimes })))
            }
            Err(error) => Err(error),
        }
    }

    fn look_up_share(&self, name: Name) -> Outcome {
        let share = self.shares.get(name).ok_or(Errno::NOENT)?;
        let attributes = self.host.attributes(share.root())?;
        let node = self.nodes().found_share(&share, name, share.identity());
        self.watch_folders();
        // Not to be remembered: another folder may be shared under this name at any time.
        let found = Found { node, shown: Some(self.shown(&attributes)), lifetimes: ONCE };
        Ok(Answer::Payload(Payload::entry(found)))
    }

    pub(super) fn read_link(&self, node: u64) -> Outcome {
        let target = self.host.read_link(&self.place(node)?.held)?;
        Ok(Answer::Payload(Payload::raw(target)))
    }

    pub(super) fn make_folder(&self, header: &Header, name: Name, mode: u32) -> Outcome {
        self.make(header, name, mode, |folder, maker| self.host.make_folder(folder, name, maker))
    }

    pub(super) fn make_node(&self, header: &Header, name: Name, mode: u32, device: u32) -> Outcome {
        let kind = match Kind::of(mode) {
            Some(Kind::Folder | Kind::Link) => return Err(Errno::INVAL),
            Some(kind) => kind,
            // As mknod(2) takes it.
            None if mode & 0o170_000 == 0 => Kind::File,
            None => return Err(Errno::INVAL),
        };
        self.make(header, name, mode, |folder, maker| self.host.make_node(folder, name, kind, device, maker))
    }

    pub(super) fn make_link(&self, header: &Header, name: Name, target: &[u8]) -> Outcome {
        match target.len() {
            0 => return Err(Errno::NOENT),
            len if len > LONGEST_LINK => return Err(Errno::NAMETOOLONG),
            _ => {}
        }
        self.make(header, name, 0o777, |folder, maker| self.host.make_link(folder, name, target, maker))
    }

    fn make(
        &self,
        header: &Header,
        name: Name,
        mode: u32,
        make: impl FnOnce(&H::Node, Maker) -> Result<Attributes, Errno>,
    ) -> Outcome {
        let place = self.hold_to_change(header.node)?;
        self.did_make(place.id, name);
        let attributes = make(&place.held, maker(header, mode))?;
        self.did_make(place.id, name);
        Ok(Answer::Payload(self.entry(&place, name, &attributes)))
    }

    pub(super) fn link(&self, node: u64, folder: u64, name: Name) -> Outcome {
        let (linked, place) = (self.hold_to_change(node)?, self.hold_to_change(folder)?);
        same_share(&linked, &place)?;
        self.did_make(place.id, name);
        let attributes = self.host.link(&linked.held, &place.held, name)?;
        self.did_make(place.id, name);
        self.did_to_attributes(node);
        Ok(Answer::Payload(self.entry(&place, name, &attributes)))
    }

    /// Removes a name by `how`. What had it stays held for those who still use it.
    pub(super) fn remove(
        &self,
        folder: u64,
        name: Name,
        how: impl FnOnce(&H, &H::Node, Name) -> Result<(), Errno>,
    ) -> Outcome {
        let place = self.hold_to_change(folder)?;
        let doomed = self.hold_doomed(&place, name);
        self.did_entry(place.id, name);
        how(&self.host, &place.held, name)?;
        self.did_entry(place.id, name);
        if let Some((node, held)) = doomed {
            self.nodes().pin(node, held);
        }
        Ok(done())
    }

    pub(super) fn rename(&self, from: (u64, Name), to: (u64, Name), flags: u32) -> Outcome {
        let how = match flags {
            0 => Rename::Replace,
            NO_REPLACE => Rename::Keep,
            EXCHANGE => Rename::Exchange,
            _ => return Err(Errno::INVAL),
        };
        let (source, target) = (self.hold_to_change(from.0)?, self.hold_to_change(to.0)?);
        same_share(&source, &target)?;
        let moved = self.see(&source.held, from.1)?;
        let doomed = (how == Rename::Replace).then(|| self.hold_doomed(&target, to.1)).flatten();
        let exchanged = (how == Rename::Exchange).then(|| self.see(&target.held, to.1)).transpose()?;
        let did = || {
            match &exchanged {
                Some(other) => self.did_name(source.id, from.1, other),
                None => self.did_entry(source.id, from.1),
            }
            self.did_name(target.id, to.1, &moved);
        };
        // Before as well: the host may report it before it returns.
        did();
        if let Err(error) = self.host.rename((&source.held, from.1), (&target.held, to.1), how) {
            self.did_entry(source.id, from.1);
            self.did_entry(target.id, to.1);
            return Err(error);
        }
        did();
        let mut nodes = self.nodes();
        if let Some((node, held)) = doomed {
            nodes.pin(node, held);
        }
        nodes.renamed(moved.identity, &target.share, target.id, to.1);
        if let Some(other) = exchanged {
            nodes.renamed(other.identity, &source.share, source.id, from.1);
        }
        Ok(done())
    }

    /// Holds what is about to lose its name, if the guest knows it.
    fn hold_doomed(&self, folder: &Place<H::Node>, name: Name) -> Option<(u64, H::Node)> {
        let held = self.host.hold(&folder.held, name).ok()?;
        let identity = self.host.attributes(&held).ok()?.identity;
        let node = self.nodes().doomed(identity, &folder.share)?;
        Some((node, held))
    }
}

/// Who asks, with the mode of what is made.
pub(super) fn maker(header: &Header, mode: u32) -> Maker {
    Maker { mode: mode & 0o7777, uid: header.uid, gid: header.gid }
}

/// Nothing goes from one share into another, as between any two file systems.
fn same_share<N>(one: &Place<N>, other: &Place<N>) -> Result<(), Errno> {
    if one.share.id() == other.share.id() { Ok(()) } else { Err(Errno::XDEV) }
}
