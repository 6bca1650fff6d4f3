//! From the numbers that the guest names to what lies on the host, and back: nodes held, found again, and told of.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::Server;
use super::lifetimes::BRIEF;
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::events::At;
use crate::virtio::fs::events::doubts::Doubt;
use crate::virtio::fs::fuse::reply::{Found, Payload, Shown};
use crate::virtio::fs::host::{Attributes, HostFs, Identity, Kind};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::{Nodes, ROOT, Step, Way};
use crate::virtio::fs::shares::Share;

/// A node held, and where it lies.
pub(in crate::virtio::fs) struct Place<N> {
    pub(in crate::virtio::fs) id: u64,
    pub(in crate::virtio::fs) share: Arc<Share<N>>,
    pub(in crate::virtio::fs) held: Arc<N>,
}

impl<H: HostFs> Server<H> {
    pub(in crate::virtio::fs) fn nodes(&self) -> MutexGuard<'_, Nodes<H::Node>> {
        // Its methods leave the table whole at every point where they could panic.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a node, finding it again if it was given up: by its name, or if somebody on the host took that away, by what the
    /// guest has open of it.
    pub(in crate::virtio::fs) fn hold(&self, node: u64) -> Result<Arc<H::Node>, Errno> {
        let way = self.nodes().way(node)?;
        let (from, steps) = match way {
            Way::Here(held) => return Ok(held),
            Way::Down(from, steps) => (from, steps),
        };
        self.down(from, &steps).or_else(|error| match error {
            Errno::STALE => self.by_what_is_open(node).ok_or(error),
            other => Err(other),
        })
    }

    fn down(&self, from: Arc<H::Node>, steps: &[Step]) -> Result<Arc<H::Node>, Errno> {
        steps.iter().try_fold(from, |at, step| {
            let held = self.host.hold(&at, step.name()).map_err(gone)?;
            if self.host.attributes(&held).map_err(gone)?.identity != step.identity {
                return Err(Errno::STALE);
            }
            Ok(self.nodes().hold(step.node, held))
        })
    }

    fn by_what_is_open(&self, node: u64) -> Option<Arc<H::Node>> {
        let held = self.host.hold_open(&*self.files.on(node)?)?;
        // No name leads to it, so it stays held as long as it is known.
        self.nodes().pin(node, held);
        match self.nodes().way(node) {
            Ok(Way::Here(held)) => Some(held),
            Ok(Way::Down(..)) | Err(_) => None,
        }
    }

    /// A node in which something may be changed.
    pub(in crate::virtio::fs) fn hold_to_change(&self, node: u64) -> Result<Place<H::Node>, Errno> {
        let place = self.place(node)?;
        if place.share.is_writable() { Ok(place) } else { Err(Errno::ROFS) }
    }

    /// A node with the share that it lies in. The root lies in none, and nothing in it is the guest's to change.
    pub(in crate::virtio::fs) fn place(&self, node: u64) -> Result<Place<H::Node>, Errno> {
        if node == ROOT {
            return Err(Errno::ROFS);
        }
        let share = self.nodes().share(node)?;
        Ok(Place { id: node, share, held: self.hold(node)? })
    }

    /// What `name` in a folder is, unless the guest is not to know.
    pub(in crate::virtio::fs) fn see(&self, folder: &H::Node, name: Name) -> Result<Attributes, Errno> {
        let attributes = self.host.look_up(folder, name)?;
        if self.shares.is_hidden(attributes.identity) { Err(Errno::NOENT) } else { Ok(attributes) }
    }

    /// The guest is told of what `name` in a folder is.
    pub(in crate::virtio::fs) fn tell(&self, folder: &Place<H::Node>, name: Name, attributes: &Attributes) -> u64 {
        let node = self.nodes().found(folder.id, name, (attributes.identity, attributes.kind), &folder.share);
        if attributes.kind == Kind::Folder {
            self.watch_folders();
        }
        node
    }

    /// Has folders watched that the guest knows since this was last called, and those no more that it has forgotten.
    pub(in crate::virtio::fs) fn watch_folders(&self) {
        let Some(watch) = self.watch.get() else { return };
        let (new, lost) = self.nodes().folders();
        lost.into_iter().for_each(|folder| watch.end(folder));
        new.into_iter().for_each(|folder| watch.begin(folder));
    }

    /// The guest itself removed or renamed this entry.
    pub(in crate::virtio::fs) fn did_entry(&self, folder: u64, name: Name) {
        if let Some(watch) = self.watch.get() {
            watch.own.entry(folder, name.bytes());
            watch.doubts.settle(&At { folder, name: name.bytes().to_vec() });
        }
    }

    /// The guest itself gives this name to what was found under another one, and is about to believe for long that it has it.
    pub(in crate::virtio::fs) fn did_name(&self, folder: u64, name: Name, named: &Attributes) {
        if let Some(watch) = self.watch.get() {
            let doubt = Doubt { identity: named.identity, kind: named.kind, when: Instant::now() };
            watch.own.entry(folder, name.bytes());
            watch.doubts.add(At { folder, name: name.bytes().to_vec() }, doubt);
        }
    }

    /// The guest itself made this entry.
    pub(in crate::virtio::fs) fn did_make(&self, folder: u64, name: Name) {
        if let Some(watch) = self.watch.get() {
            watch.own.made(folder, name.bytes());
            watch.doubts.settle(&At { folder, name: name.bytes().to_vec() });
        }
    }

    /// The guest itself changed this node's content.
    pub(in crate::virtio::fs) fn did_to_content(&self, node: u64) {
        if let Some(watch) = self.watch.get() {
            watch.own.content(node);
        }
    }

    /// The guest itself changed this node's attributes.
    pub(in crate::virtio::fs) fn did_to_attributes(&self, node: u64) {
        if let Some(watch) = self.watch.get() {
            watch.own.attributes(node);
        }
    }

    pub(in crate::virtio::fs) fn host(&self) -> &H {
        &self.host
    }

    /// What the guest has just made, as an answer.
    pub(in crate::virtio::fs) fn entry(&self, folder: &Place<H::Node>, name: Name, attributes: &Attributes) -> Payload {
        let node = self.tell(folder, name, attributes);
        Payload::entry(Found { node, shown: Some(self.shown(attributes)), lifetimes: BRIEF })
    }

    pub(in crate::virtio::fs) fn shown<'a>(&self, attributes: &'a Attributes) -> Shown<'a> {
        let inode = self.inode(attributes.identity);
        self.refresh_window(|source| source.inode == inode);
        Shown { inode, attributes, in_window: self.is_for_window(attributes) }
    }

    /// The guest sees one file system where the host may have several: numbers of the first one stay as they are.
    pub(in crate::virtio::fs) fn inode(&self, identity: Identity) -> u64 {
        const INODE_BITS: u32 = 48;
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let place = devices.iter().position(|&device| device == identity.device).unwrap_or_else(|| {
            devices.push(identity.device);
            devices.len() - 1
        });
        identity.inode ^ ((place as u64) << INODE_BITS)
    }
}

/// What finding a known object again fails with, if it is there no more.
fn gone(error: Errno) -> Errno {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Errno::STALE,
        other => other,
    }
}
