//! All nodes that are held on Windows: one for each object, so that what the guest does to an object by one name is known by
//! every other. Called by the backend.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_READ_ATTRIBUTES, SYNCHRONIZE};

use super::Outcome;
use super::attributes::{self, Real};
use super::node::{Held, LOOK, Node, Way};
use super::nt::{self, Target};
use super::place::{self, At, Entry, Place};
use super::volume::{By, Powers, Still, Volume};
use crate::sys::told::Told;
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::to_wide;
use crate::virtio::fs::host::{Identity, Kind};

/// Fewer than these are never looked through for those that are held no more.
const FEW: usize = 64;

/// A handle of what loses its last name.
pub(super) struct Last {
    held: Arc<Held>,
    handle: OwnedHandle,
}

impl Last {
    /// The name is gone.
    pub(super) fn keep(self) {
        // Whoever was faster has the same.
        let _ = self.held.last.set(self.handle);
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: Mutex<Known>,
    still: Arc<Still>,
}

#[derive(Debug, Default)]
struct Known {
    by_identity: HashMap<(u64, Identity), Weak<Held>>,
    /// At so many it is looked through.
    full: usize,
    told: Told,
    /// Of volumes that were met, so that an object is told alike in all shares.
    powers: HashMap<u64, Powers>,
    scopes: u64,
}

impl Known {
    fn get(&self, volume: &Volume, identity: Identity) -> Option<Arc<Held>> {
        self.by_identity.get(&(volume.scope, identity)).and_then(Weak::upgrade)
    }

    fn add(&mut self, volume: &Arc<Volume>, way: Way, identity: Identity, kind: Kind) -> Node {
        if self.by_identity.len() >= self.full.max(FEW) {
            self.by_identity.retain(|_, held| held.strong_count() > 0);
            self.full = 2 * self.by_identity.len();
        }
        let held = Arc::new(Held { volume: Arc::clone(volume), way, identity, kind, last: OnceLock::new() });
        self.by_identity.insert((volume.scope, identity), Arc::downgrade(&held));
        Node(held)
    }
}

impl Nodes {
    /// Holds the folder at `path`, links in it followed.
    pub(super) fn root(&self, path: &Path) -> Outcome<Node> {
        let open = OpenOptions::new()
            .access_mode(FILE_READ_ATTRIBUTES | SYNCHRONIZE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)
            .map_err(|error| nt::io_errno(&error))?;
        let root = OwnedHandle::from(open);
        let real = attributes::real(&root)?;
        if real.shown.kind != Kind::Folder {
            return Err(Errno::NOTDIR);
        }
        // Said here, not at the guest's first step: nothing tells objects from each other, as on some networks. That the root
        // of a whole volume has no number means nothing.
        if real.id == 0 && nt::path(&root)?.last() != Some(&u16::from(b'\\')) {
            return Err(Errno::OPNOTSUPP);
        }
        let mut known = self.lock();
        let powers = match known.powers.get(&real.host.device) {
            // Servers may give one number to volumes that are not alike: of each, only what both can is relied on.
            Some(powers) => {
                let here = Powers::of(&root, &real)?;
                let (streams, reparse) = (powers.streams && here.streams, powers.reparse && here.reparse);
                Powers { streams, reparse, ..*powers }
            }
            None => Powers::of(&root, &real)?,
        };
        known.powers.insert(real.host.device, powers);
        let scope = match powers.by {
            By::Number => 0,
            By::Place { .. } => {
                known.scopes += 1;
                known.scopes
            }
        };
        let (device, still) = (real.host.device, Arc::clone(&self.still));
        let volume = Arc::new(Volume { root, powers, device, scope, still });
        match powers.by {
            By::Number => {
                let held = known.get(&volume, real.host).map(Node);
                Ok(held.unwrap_or_else(|| known.add(&volume, Way::Number(real.id), real.host, Kind::Folder)))
            }
            By::Place { .. } => {
                let identity = known.told.of(volume.real(&volume.root)?.host);
                Ok(known.add(&volume, Way::Place(Place::new(At::Root)), identity, Kind::Folder))
            }
        }
    }

    /// Holds what `name` in a folder is.
    pub(super) fn hold(&self, folder: &Node, name: Name) -> Outcome<(Node, Real)> {
        let moves = self.still.moves();
        let found = folder.enter(name, LOOK).and_then(|open| self.real(folder, &open));
        match (folder.0.volume.powers.by, found) {
            (By::Number, Ok(real)) => return Ok((self.numbered(folder, &real), real)),
            (By::Place { .. }, Ok(real)) => {
                if let Some(node) = self.as_seen(moves, folder, name, &real)? {
                    return Ok((node, real));
                }
            }
            // What they mean while something is renamed.
            (By::Place { .. }, Err(Errno::STALE | Errno::LOOP)) => {}
            (By::Number | By::Place { .. }, Err(error)) => return Err(error),
        }
        self.hold_still(folder, name)
    }

    /// Holds what has just been made as `name` in a folder.
    pub(super) fn held(&self, folder: &Node, name: Name, real: &Real) -> Outcome<Node> {
        if folder.0.volume.powers.by == By::Number {
            return Ok(self.numbered(folder, real));
        }
        if let Some(node) = self.as_seen(self.still.moves(), folder, name, real)? {
            return Ok(node);
        }
        let (node, found) = self.hold_still(folder, name)?;
        if found.shown.identity == real.shown.identity { Ok(node) } else { Err(Errno::STALE) }
    }

    /// What a handle of something in a folder is of.
    pub(super) fn real(&self, folder: &Node, open: &OwnedHandle) -> Outcome<Real> {
        let mut real = folder.0.volume.real(open)?;
        match folder.0.volume.powers.by {
            By::Number => {}
            By::Place { .. } if real.id == 0 => return Err(Errno::OPNOTSUPP),
            By::Place { .. } => real.shown.identity = self.lock().told.of(real.host),
        }
        Ok(real)
    }

    /// Holds by number.
    fn numbered(&self, folder: &Node, real: &Real) -> Node {
        let (mut known, volume) = (self.lock(), &folder.0.volume);
        let held = known.get(volume, real.shown.identity).map(Node);
        held.unwrap_or_else(|| known.add(volume, Way::Number(real.id), real.shown.identity, real.shown.kind))
    }

    /// Holds by place what was seen there, if the guest has renamed nothing since it had done so `moves` times, and if it is not
    /// held by another place.
    fn as_seen(&self, moves: u64, folder: &Node, name: Name, real: &Real) -> Outcome<Option<Node>> {
        let entry = Entry { folder: Arc::clone(&folder.0), name: to_wide(name)?, host: real.host };
        let (mut known, volume) = (self.lock(), &folder.0.volume);
        if self.still.moves() != moves {
            return Ok(None);
        }
        Ok(match known.get(volume, real.shown.identity) {
            Some(held) => matches!(&held.way, Way::Place(place) if place.is(&entry)).then_some(Node(held)),
            None => {
                let way = Way::Place(Place::new(At::Entry(entry)));
                Some(known.add(volume, way, real.shown.identity, real.shown.kind))
            }
        })
    }

    /// Holds what `name` in a folder is by this place, while the guest renames nothing.
    fn hold_still(&self, folder: &Node, name: Name) -> Outcome<(Node, Real)> {
        let (name, volume) = (to_wide(name)?, &folder.0.volume);
        let _turn = self.still.turn();
        let real = self.real(folder, &volume.enter(&place::walk(&folder.0, LOOK)?, &name, LOOK)?)?;
        let entry = Entry { folder: Arc::clone(&folder.0), name, host: real.host };
        let mut known = self.lock();
        let Some(held) = known.get(volume, real.shown.identity) else {
            let way = Way::Place(Place::new(At::Entry(entry)));
            return Ok((known.add(volume, way, real.shown.identity, real.shown.kind), real));
        };
        put(&held, entry)?;
        Ok((Node(held), real))
    }

    /// To be kept while something in a folder is renamed; nothing may be [held](Self::hold) or opened by a node meanwhile.
    pub(super) fn turn(&self, folder: &Node) -> Option<MutexGuard<'_, ()>> {
        match folder.0.volume.powers.by {
            By::Number => None,
            By::Place { .. } => Some(self.still.turn()),
        }
    }

    /// What was `real` until the guest renamed it, and `open` is a handle of, is `name` in a folder now.
    pub(super) fn moved(&self, real: &Real, open: &OwnedHandle, folder: &Node, name: &[u16]) {
        if folder.0.volume.powers.by == By::Number {
            return;
        }
        // Renaming may give it another number. Where that cannot be learnt any more it will be stale.
        let host = folder.0.volume.which(open).map_or(real.host, |(host, _)| host);
        let mut known = self.lock();
        known.told.moved(real.host, host);
        if let Some(held) = known.get(&folder.0.volume, real.shown.identity) {
            let entry = Entry { folder: Arc::clone(&folder.0), name: name.to_vec(), host };
            // Only a hostile host has it lie in itself; there it is not found, then.
            let _ = put(&held, entry);
        }
        // As long as nobody can hold anything by where it was.
        self.still.moved();
    }

    /// The guest took the last name of something in a folder.
    pub(super) fn removed(&self, real: &Real, folder: &Node) {
        if folder.0.volume.powers.by == By::Number {
            return;
        }
        let mut known = self.lock();
        known.told.removed(real.host);
        if let Some(held) = known.get(&folder.0.volume, real.shown.identity)
            && let Way::Place(place) = &held.way
        {
            place.end();
        }
    }

    /// What `open` is a handle of is about to lose a name in a folder, and may be without one then. To be kept once it is.
    pub(super) fn last(&self, folder: &Node, open: &OwnedHandle, real: &Real) -> Option<Last> {
        if !loses_last(real) {
            return None;
        }
        let held = self.lock().get(&folder.0.volume, real.shown.identity)?;
        let handle = nt::open(open, Target::Name(&[]), LOOK).ok()?;
        Some(Last { held, handle })
    }

    /// Takes the volume that a folder lies on for one that can do no more than that.
    #[cfg(test)]
    pub(super) fn assume(&self, folder: &Path, powers: Powers) {
        let open = OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(folder).expect("there");
        let device = attributes::real(&open.into()).expect("open").host.device;
        self.lock().powers.insert(device, powers);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A map has no broken state in between.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object that loses a name is without one then.
pub(super) fn loses_last(real: &Real) -> bool {
    real.shown.kind == Kind::Folder || real.shown.links <= 1
}

/// What is held is this entry now.
fn put(held: &Arc<Held>, entry: Entry) -> Outcome<()> {
    let Way::Place(place) = &held.way else { return Err(Errno::STALE) };
    // A folder below itself is what a hostile host at most can make; following it would never end.
    if held.kind == Kind::Folder && place::lies_in(&entry.folder, held) {
        return Err(Errno::STALE);
    }
    place.put(entry);
    Ok(())
}
