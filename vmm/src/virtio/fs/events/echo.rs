//! Requests of the agent's thread that repeat what happened on the host: answered as if they had been done. What stands armed says
//! which they may be; the agent's steps for each happening are in the agent's `echo.rs`.

use std::sync::PoisonError;

use lighter_protocol::{EntryKind, Place, Raise};

use super::{Armed, At, Happening};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::numbers::open;
use crate::virtio::fs::fuse::reply::{Found, Lifetimes, Listing, Payload};
use crate::virtio::fs::fuse::request::{Header, Operation};
use crate::virtio::fs::host::{Attributes, Entry, HostFs, Identity, Kind, Time};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::ROOT;
use crate::virtio::fs::server::lifetimes::ONCE;
use crate::virtio::fs::server::{Answer, Server, done};

/// The number of a file that is opened, written to and closed without being any of it.
const ECHO: u64 = u64::MAX;

impl<H: HostFs> Server<H> {
    /// Requests of this thread of the guest may repeat what is armed, and the guest may believe for long what it is told, since
    /// it will be told of every change; 0 says that there is nobody.
    pub fn herald(&self, thread: u32) {
        self.herald.set(thread);
        self.listens(thread != 0);
    }

    /// Arms a happening, and says what the agent is to do; `None` if nobody in the guest can know of it, or if its name is none
    /// that a message could carry.
    pub fn arm(&self, happening: &Happening) -> Option<Raise> {
        let place = |at: &At| {
            let folder = String::from_utf8(self.nodes().path(at.folder)?).ok()?;
            Some(Place { folder, name: String::from_utf8(at.name.clone()).ok()? })
        };
        let raise = match happening {
            Happening::Made(at, _) => Raise::Made { at: place(at)?, kind: self.kind_at(at)? },
            Happening::Removed(at, kind) => {
                let kind = self.nodes().lost_name(at.folder, &at.name).unwrap_or(*kind);
                Raise::Removed { at: place(at)?, kind: entry_kind(kind) }
            }
            Happening::Renamed(from, to) => {
                self.nodes().lost_name(to.folder, &to.name);
                Raise::Renamed { from: place(from)?, to: place(to)? }
            }
            // What has gone again meanwhile has its own happening; asking for it would only make the kernel remember that it is not there.
            Happening::Content(at) => self.kind_at(at).and_then(|_| Some(Raise::Content { at: place(at)? }))?,
            Happening::Attributes(at) => self.kind_at(at).and_then(|_| Some(Raise::Attributes { at: place(at)? }))?,
        };
        self.set_armed(Some(Armed::One(happening.clone())));
        Some(raise)
    }

    /// The agent has done what it could.
    pub fn disarm(&self) {
        self.set_armed(None);
    }

    pub(super) fn set_armed(&self, armed: Option<Armed>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    }

    fn kind_at(&self, at: &At) -> Option<EntryKind> {
        let (folder, name) = (self.place(at.folder).ok()?, Name::new(&at.name).ok()?);
        Some(entry_kind(self.see(&folder.held, name).ok()?.kind))
    }

    /// The answer to a request that repeats what is armed; `None` for any other.
    pub(in crate::virtio::fs) fn echo(&self, header: &Header, operation: &Operation) -> Option<Answer> {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let armed = match armed {
            Armed::One(happening) => happening,
            Armed::Outdated => return self.echo_outdated(header, operation),
        };
        let is = |at: &At, folder: u64, name: Name| at.folder == folder && at.name == name.bytes();
        match (operation, &armed) {
            (Operation::Write(what), _) if what.handle == ECHO => Some(Answer::Payload(Payload::size(what.size))),
            (Operation::Flush { handle } | Operation::Release { handle }, _) if *handle == ECHO => Some(done()),
            (Operation::Open { .. }, Happening::Content(_)) => {
                // Without leave to keep cached pages the kernel drops them, and direct I/O asks before it believes a length.
                Some(Answer::Payload(Payload::default().and_open(ECHO, open::DIRECT_IO)))
            }
            // The agent asks before it lists, so that the kernel takes the list that it has for an old one.
            (Operation::GetAttr { .. }, _) => self.changed_just_now(header.node),
            (Operation::SetAttr(_), Happening::Attributes(_)) => self.get_attributes(header.node).ok(),

            (Operation::Lookup { name }, Happening::Made(at, _)) if is(at, header.node, *name) => {
                Some(Answer::Error(Errno::NOENT))
            }
            (
                Operation::MkNod { name, .. } | Operation::MkDir { name, .. } | Operation::SymLink { name, .. },
                Happening::Made(at, _),
            ) if is(at, header.node, *name) => self.look_up(header.node, *name).ok(),

            (Operation::Lookup { name }, Happening::Removed(at, kind)) if is(at, header.node, *name) => {
                self.ghost(at, *kind).map(Answer::Payload)
            }
            (Operation::Unlink { name } | Operation::RmDir { name }, Happening::Removed(at, _))
                if is(at, header.node, *name) =>
            {
                Some(done())
            }

            (Operation::Lookup { name }, Happening::Renamed(from, to)) => {
                if is(from, header.node, *name) {
                    self.at_its_old_place(to).map(Answer::Payload)
                } else if is(to, header.node, *name) {
                    Some(self.replaced(from, to))
                } else {
                    self.gone_on_the_way(header.node, *name, &armed)
                }
            }
            (Operation::Rename { name, new_folder, new_name, .. }, Happening::Renamed(from, to))
                if is(from, header.node, *name) && is(to, *new_folder, *new_name) =>
            {
                self.moved(to);
                Some(done())
            }
            // The folder in question may be gone as well.
            (Operation::Lookup { name }, armed) => self.gone_on_the_way(header.node, *name, armed),
            (Operation::ReadDirPlus(what), _) => {
                Some(if what.offset == 0 { self.renewed(&armed, what.size as usize) } else { done() })
            }
            _ => None,
        }
    }

    /// A folder as it is, but for a time of change that the guest has not seen, not to be believed for any time.
    fn changed_just_now(&self, node: u64) -> Option<Answer> {
        let mut attributes = self.host().attributes(&self.place(node).ok()?.held).ok()?;
        // With no link left the kernel would say that it is removed, to those who watch it, before its entries are.
        attributes.links = attributes.links.max(1);
        attributes.modified.nanos = (attributes.modified.nanos + 1) % 1_000_000_000;
        (attributes.kind == Kind::Folder)
            .then(|| Answer::Payload(Payload::attributes(self.shown(&attributes), ONCE.attributes)))
    }

    /// What was there, for the guest to remove: as the guest knew it, or nobody's.
    fn ghost(&self, at: &At, kind: Kind) -> Option<Payload> {
        let (node, attributes, lifetimes) = self.ghost_entry(at, kind)?;
        Some(Payload::entry(Found { node, shown: Some(self.shown(&attributes)), lifetimes }))
    }

    /// A folder that is there no more, but on the way to what is armed, as the guest knew it.
    fn gone_on_the_way(&self, folder: u64, name: Name, armed: &Happening) -> Option<Answer> {
        // Shares do not go.
        if folder == ROOT {
            return None;
        }
        let ends = match armed {
            Happening::Made(at, _) | Happening::Removed(at, _) | Happening::Content(at) | Happening::Attributes(at) => {
                [Some(at.folder), None]
            }
            Happening::Renamed(from, to) => [Some(from.folder), Some(to.folder)],
        };
        let (node, identity) = {
            let nodes = self.nodes();
            ends.into_iter().flatten().find_map(|end| nodes.step_towards(end, folder, name))?
        };
        let there = self.place(folder).and_then(|place| self.see(&place.held, name));
        if there.is_ok_and(|attributes| attributes.identity == identity) {
            return None;
        }
        self.nodes().tell_again(node);
        Some(self.as_it_was(node, Kind::Folder))
    }

    /// What is not at its name any more, as it was there. As long as it can be asked it is shown as it is, to those as well who hold
    /// it or have it by another name: a moment of other owners and modes would be one in which they may not use it.
    pub(super) fn as_it_was(&self, node: u64, kind: Kind) -> Answer {
        let held = self.place(node).and_then(|place| self.host().attributes(&place.held));
        let mut attributes = held.unwrap_or_else(|_| ghost_attributes(kind));
        attributes.links = attributes.links.max(1);
        Answer::Payload(Payload::entry(Found { node, shown: Some(self.shown(&attributes)), lifetimes: ONCE }))
    }

    /// What is now at `to`, told under the name that it had.
    fn at_its_old_place(&self, to: &At) -> Option<Payload> {
        let (node, attributes, lifetimes) = self.moved_entry(to)?;
        Some(Payload::entry(Found { node, shown: Some(self.shown(&attributes)), lifetimes }))
    }

    fn moved_entry(&self, to: &At) -> Option<(u64, Attributes, Lifetimes)> {
        let (place, name) = (self.place(to.folder).ok()?, Name::new(&to.name).ok()?);
        let attributes = self.see(&place.held, name).ok()?;
        let node = self.nodes().told(attributes.identity, &place.share);
        Some((node.unwrap_or_else(|| self.tell(&place, name, &attributes)), attributes, ONCE))
    }

    /// What was at `to` before, for the guest to replace: not what is there by now, under whichever of its names the guest knows
    /// it. A kernel that is told one thing of both names takes them for one, does nothing, and says that all is well.
    fn replaced(&self, from: &At, to: &At) -> Answer {
        let moved = self.known_at(to);
        let mut nodes = self.nodes();
        let moving = nodes.child(from.folder, &from.name).map(|(node, _)| node);
        let Some((node, kind)) = nodes.child_but(to.folder, &to.name, [moving, moved]) else {
            return Answer::Error(Errno::NOENT);
        };
        nodes.tell_again(node);
        drop(nodes);
        let attributes = ghost_attributes(kind);
        Answer::Payload(Payload::entry(Found { node, shown: Some(self.shown(&attributes)), lifetimes: ONCE }))
    }

    /// The node that the guest knows of what is there now.
    fn known_at(&self, at: &At) -> Option<u64> {
        let (place, name) = (self.place(at.folder).ok()?, Name::new(&at.name).ok()?);
        let identity = self.see(&place.held, name).ok()?.identity;
        self.nodes().known_as(identity, &place.share)
    }

    fn moved(&self, to: &At) {
        let (Ok(place), Ok(name)) = (self.place(to.folder), Name::new(&to.name)) else { return };
        if let Ok(attributes) = self.see(&place.held, name) {
            self.nodes().renamed(attributes.identity, &place.share, to.folder, name);
        }
    }

    /// A list of nothing but what happened: it renews what the kernel has cached of these names. None of it is to be
    /// believed for any time.
    fn renewed(&self, armed: &Happening, room: usize) -> Answer {
        let mut listing = Listing::new(room);
        let (at, payload) = match armed {
            Happening::Made(at, _) => (at, self.known_entry(at)),
            Happening::Removed(at, kind) => (at, self.ghost_entry(at, *kind)),
            Happening::Renamed(from, to) => (from, self.moved_entry(to)),
            Happening::Content(_) | Happening::Attributes(_) => return done(),
        };
        if let Some((node, attributes, lifetimes)) = payload
            && listing.fits(&at.name, true)
        {
            let entry =
                Entry { name: &at.name, inode: attributes.identity.inode, kind: Some(attributes.kind), next: 1 };
            listing.push(&entry, Some(Found { node, shown: Some(self.shown(&attributes)), lifetimes }));
        }
        Answer::Payload(listing.done())
    }

    fn known_entry(&self, at: &At) -> Option<(u64, Attributes, Lifetimes)> {
        let (place, name) = (self.place(at.folder).ok()?, Name::new(&at.name).ok()?);
        let attributes = self.see(&place.held, name).ok()?;
        Some((self.tell(&place, name, &attributes), attributes, ONCE))
    }

    fn ghost_entry(&self, at: &At, kind: Kind) -> Option<(u64, Attributes, Lifetimes)> {
        let mut nodes = self.nodes();
        let share = nodes.share(at.folder).ok()?;
        let (node, kind) = nodes
            .told_child(at.folder, &at.name)
            .unwrap_or_else(|| (nodes.ghost(at.folder, &at.name, kind, &share), kind));
        Some((node, ghost_attributes(kind), ONCE))
    }
}

fn entry_kind(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::File,
        Kind::Folder => EntryKind::Folder,
        Kind::Link => EntryKind::Link,
        Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => EntryKind::Other,
    }
}

/// Of what is there no more.
fn ghost_attributes(kind: Kind) -> Attributes {
    let time = Time::default();
    Attributes {
        identity: Identity { device: u64::MAX, inode: u64::MAX, birth: 0 },
        kind,
        mode: 0o600,
        uid: 0,
        gid: 0,
        links: 1,
        device: 0,
        size: 0,
        blocks: 0,
        block_size: 4096,
        accessed: time,
        modified: time,
        changed: time,
    }
}
