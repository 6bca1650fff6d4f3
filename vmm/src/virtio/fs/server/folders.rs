//! Requests about the lists of folders.

use std::sync::{Mutex, PoisonError};

use super::{Answer, LIFETIME, Outcome, Place, Server, done};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::reply::{Found, Listing, Payload};
use crate::virtio::fs::fuse::request::Transfer;
use crate::virtio::fs::host::{Entry, HostFs, Identity, Kind};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::ROOT;

/// Most that one answer holds, in bytes.
const MOST: u32 = 1 << 20;

/// A folder whose list is open.
pub(super) enum OpenFolder<H: HostFs> {
    /// The file system's root: names of shares.
    Root(Vec<Vec<u8>>),
    /// One of the host's, and its number's file system.
    Host { place: Place<H::Node>, folder: H::Folder, identity: Identity },
}

impl<H: HostFs> Server<H> {
    pub(super) fn open_folder(&self, node: u64) -> Outcome {
        let open = if node == ROOT {
            OpenFolder::Root(self.shares.names())
        } else {
            let place = self.place(node)?;
            let folder = self.host.open_folder(&place.held)?;
            let identity = self.host.attributes(&place.held)?.identity;
            OpenFolder::Host { place, folder, identity }
        };
        let handle = self.folders.add(Mutex::new(open))?;
        Ok(Answer::Payload(Payload::default().and_open(handle, 0)))
    }

    /// READDIR, or READDIRPLUS with all that a lookup of each entry would say.
    pub(super) fn list(&self, what: &Transfer, plus: bool) -> Outcome {
        let open = self.folders.get(what.handle)?;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listing = Listing::new(what.size.min(MOST) as usize);
        match &mut *open {
            OpenFolder::Root(names) => list_shares(names, what.offset, plus, &mut listing),
            OpenFolder::Host { place, folder, identity } => {
                let mut take = |entry: Entry| self.take(place, *identity, entry, plus, &mut listing);
                self.host.list(folder, what.offset, &mut take)?;
            }
        }
        if listing.is_empty() && (what.size as usize) < 512 {
            // Not even one entry fits: an empty answer would say that there are no more.
            return Err(Errno::INVAL);
        }
        Ok(Answer::Payload(listing.done()))
    }

    /// Adds an entry of the host's, if there is room.
    fn take(
        &self,
        folder: &Place<H::Node>,
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
        let nothing = Found { node: 0, shown: None, lifetime: LIFETIME };
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
        listing.push(&entry, Some(Found { node, shown: Some(self.shown(&attributes)), lifetime: LIFETIME }));
        true
    }

    pub(super) fn sync_folder(&self, handle: u64) -> Outcome {
        let open = self.folders.get(handle)?;
        if let OpenFolder::Host { folder, .. } = &*open.lock().unwrap_or_else(PoisonError::into_inner) {
            self.host.sync_folder(folder)?;
        }
        Ok(done())
    }
}

fn list_shares(names: &[Vec<u8>], from: u64, plus: bool, listing: &mut Listing) {
    let own = [&b"."[..], b".."].into_iter();
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    for (place, name) in own.chain(names.iter().map(Vec::as_slice)).enumerate().skip(from) {
        if !listing.fits(name, plus) {
            return;
        }
        let place = place as u64;
        let entry = Entry { name, inode: u64::MAX - place, kind: Some(Kind::Folder), next: place + 1 };
        listing.push(&entry, plus.then_some(Found { node: 0, shown: None, lifetime: LIFETIME }));
    }
}
