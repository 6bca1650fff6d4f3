//! Requests about the lists of folders.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lifetimes::{BRIEF, Reported};
use super::places::Place;
use super::{Answer, Outcome, Server, done};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::reply::{Found, Listing, Payload};
use crate::virtio::fs::fuse::request::Transfer;
use crate::virtio::fs::host::{Entry, HostFs, Identity, Kind};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::ROOT;

/// Most that one answer holds, in bytes.
const MOST: u32 = 1 << 20;
/// Lists that are kept open between two requests for more of them.
const STREAMS: usize = 32;

/// A folder whose list is open.
pub(super) enum OpenFolder<H: HostFs> {
    /// The file system's root: names of shares.
    Root(Vec<Vec<u8>>),
    /// One of the host's, and its number's file system.
    Host { place: Place<H::Node>, folder: H::Folder, identity: Identity },
}

impl<H: HostFs> Server<H> {
    /// A kernel that can do without goes on without: listing then names the node alone, and a list that has not changed is not
    /// asked for again.
    pub(super) fn open_folder(&self, node: u64) -> Outcome {
        if self.unopened.load(Ordering::Acquire) {
            return Err(Errno::NOSYS);
        }
        let handle = self.folders.add(node, Mutex::new(self.opened_folder(node)?))?;
        Ok(Answer::Payload(Payload::default().and_open(handle, 0)))
    }

    fn opened_folder(&self, node: u64) -> Result<OpenFolder<H>, Errno> {
        if node == ROOT {
            return Ok(OpenFolder::Root(self.shares.names()));
        }
        let place = self.place(node)?;
        let folder = self.host.open_folder(&place.held)?;
        let identity = self.host.attributes(&place.held)?.identity;
        Ok(OpenFolder::Host { place, folder, identity })
    }

    /// READDIR, or READDIRPLUS with all that a lookup of each entry would say.
    pub(super) fn list(&self, node: u64, what: &Transfer, plus: bool) -> Outcome {
        if what.handle != 0 || !self.unopened.load(Ordering::Acquire) {
            let open = self.folders.get(what.handle)?;
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(Answer::Payload(self.listed(&mut open, what, plus)?.0.done()));
        }
        let before = self.streams().take(node, what.offset);
        let mut open = before.map_or_else(|| self.opened_folder(node), Ok)?;
        let (listing, next) = self.listed(&mut open, what, plus)?;
        // Whoever was told of entries asks for more; who was told of none is at the end.
        if !listing.is_empty() {
            self.streams().put(node, next, open);
        }
        Ok(Answer::Payload(listing.done()))
    }

    /// What is listed, and where the list goes on.
    fn listed(&self, open: &mut OpenFolder<H>, what: &Transfer, plus: bool) -> Result<(Listing, u64), Errno> {
        let mut listing = Listing::new(what.size.min(MOST) as usize);
        let mut next = what.offset;
        match open {
            OpenFolder::Root(names) => list_shares(names, &mut next, plus, &mut listing),
            OpenFolder::Host { place, folder, identity } => {
                let reported = self.reported(place);
                let mut take = |entry: Entry| {
                    let taken = self.take((place, reported.as_ref()), *identity, entry, plus, &mut listing);
                    next = if taken { entry.next } else { next };
                    taken
                };
                self.host.list(folder, what.offset, &mut take)?;
            }
        }
        if listing.is_empty() && (what.size as usize) < 512 {
            // Not even one entry fits: an empty answer would say that there are no more.
            return Err(Errno::INVAL);
        }
        Ok((listing, next))
    }

    fn streams(&self) -> MutexGuard<'_, Streams<H>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry of the host's, if there is room.
    fn take(
        &self,
        (folder, reported): (&Place<H::Node>, Option<&Reported<H::Node>>),
        identity: Identity,
        entry: Entry,
        plus: bool,
        listing: &mut Listing,
    ) -> bool {
        if !listing.fits(entry.name, plus) {
            return false;
        }
        if self.shares.hides(identity.device, entry.inode) {
            return true;
        }
        let inode = self.inode(Identity { inode: entry.inode, ..identity });
        let entry = Entry { inode, ..entry };
        if !plus {
            listing.push(&entry, None);
            return true;
        }
        // Whatever is wrong with this one, the others are listed; who wants it looks it up and is told.
        // Node 0 tells the guest nothing, as with the two entries that every folder has.
        let nothing = Found { node: 0, shown: None, lifetimes: BRIEF };
        let Ok(name) = Name::new(entry.name) else {
            listing.push(&entry, Some(nothing));
            return true;
        };
        let attributes = match self.see(&folder.held, name) {
            Ok(attributes) => attributes,
            // Gone meanwhile, or not to be found.
            Err(Errno::NOENT) => return true,
            Err(_) => {
                listing.push(&entry, Some(nothing));
                return true;
            }
        };
        let node = self.tell(folder, name, &attributes);
        let lifetimes = Self::lifetimes(reported, name, node, &attributes);
        listing.push(&entry, Some(Found { node, shown: Some(self.shown(&attributes)), lifetimes }));
        true
    }

    pub(super) fn sync_folder(&self, node: u64, handle: u64) -> Outcome {
        if handle == 0 && self.unopened.load(Ordering::Acquire) {
            if let OpenFolder::Host { folder, .. } = self.opened_folder(node)? {
                self.host.sync_folder(&folder)?;
            }
            return Ok(done());
        }
        let open = self.folders.get(handle)?;
        if let OpenFolder::Host { folder, .. } = &*open.lock().unwrap_or_else(PoisonError::into_inner) {
            self.host.sync_folder(folder)?;
        }
        Ok(done())
    }
}

/// Lists that were begun and not ended, by node and by where they go on: a few, the oldest of which is closed for a new one.
/// Whoever goes on with a list that is no more begins it anew at that place, which a host's file system can.
pub(super) struct Streams<H: HostFs>(VecDeque<(u64, u64, OpenFolder<H>)>);

impl<H: HostFs> Default for Streams<H> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<H: HostFs> Streams<H> {
    fn take(&mut self, node: u64, offset: u64) -> Option<OpenFolder<H>> {
        let at = self.0.iter().position(|(of, next, _)| (*of, *next) == (node, offset))?;
        self.0.remove(at).map(|(_, _, open)| open)
    }

    fn put(&mut self, node: u64, next: u64, open: OpenFolder<H>) {
        if self.0.len() >= STREAMS {
            self.0.pop_front();
        }
        self.0.push_back((node, next, open));
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn list_shares(names: &[Vec<u8>], next: &mut u64, plus: bool, listing: &mut Listing) {
    let own = [&b"."[..], b".."].into_iter();
    let from = usize::try_from(*next).unwrap_or(usize::MAX);
    for (place, name) in own.chain(names.iter().map(Vec::as_slice)).enumerate().skip(from) {
        if !listing.fits(name, plus) {
            return;
        }
        let place = place as u64;
        let entry = Entry { name, inode: u64::MAX - place, kind: Some(Kind::Folder), next: place + 1 };
        listing.push(&entry, plus.then_some(Found { node: 0, shown: None, lifetimes: BRIEF }));
        *next = entry.next;
    }
}
