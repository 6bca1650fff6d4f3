//! Holding by place, on volumes that find nothing by number: an object is an entry of a folder that is held so itself, up to the
//! share's root, of which there is a handle. It is opened from there one checked name at a time, each from a handle of the folder
//! above it, no link or junction followed; and what is found at each step must be what the guest was told of, or the node is
//! stale. So no step leads out of the share, whoever exchanges what meanwhile.
//!
//! ```text
//!            hold                    the guest renames it (its folders' renaming changes nothing here)
//!   nothing ─────► entry of a folder ────────────────────────────► entry of another one
//!                    │       ▲  someone on the host renames it: stale, until it is looked up by its new name
//!                    │       └────────────────────────────────
//!                    └─ the guest removes its last name ─► nowhere: stale, or what a last handle is of
//! ```
//! No handle of a folder is kept to make this faster: whatever is open in a folder keeps Windows from renaming it.

use std::os::windows::io::OwnedHandle;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Outcome;
use super::node::{Held, LOOK, Way, gone};
use super::nt::{self, How, Target};
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Identity, Kind};

/// Most steps from a root: each request takes as many as its object is deep.
const DEEPEST: usize = 2048;

/// Where an object is.
#[derive(Debug)]
pub(super) enum At {
    /// It is the share's root.
    Root,
    /// It is this entry.
    Entry(Entry),
    /// It has no name any more.
    Nowhere,
}

/// A folder's entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) folder: Arc<Held>,
    /// As Windows has it.
    pub(super) name: Vec<u16>,
    /// What must be there.
    pub(super) host: Identity,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Place(Mutex<At>);

impl Place {
    pub(super) fn new(at: At) -> Self {
        Self(Mutex::new(at))
    }

    pub(super) fn at(&self) -> MutexGuard<'_, At> {
        // One value is put in another's place.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing to be learnt from finding it as this entry.
    pub(super) fn is(&self, entry: &Entry) -> bool {
        match &*self.at() {
            At::Root => true,
            At::Entry(at) => Arc::ptr_eq(&at.folder, &entry.folder) && at.name == entry.name && at.host == entry.host,
            At::Nowhere => false,
        }
    }

    /// It is this entry now. A root stays one.
    pub(super) fn put(&self, entry: Entry) {
        let before = match &mut *self.at() {
            At::Root => return,
            at => std::mem::replace(at, At::Entry(entry)),
        };
        drop(before);
    }

    /// It has no name any more.
    pub(super) fn end(&self) {
        let before = match &mut *self.at() {
            At::Root => return,
            at => std::mem::replace(at, At::Nowhere),
        };
        drop(before);
    }

    /// The folder that it is in, when nobody else has it any more.
    pub(super) fn take_folder(&mut self) -> Option<Arc<Held>> {
        let at = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(at, At::Nowhere) {
            At::Entry(entry) => Some(entry.folder),
            At::Root | At::Nowhere => None,
        }
    }
}

/// One step down.
struct Step {
    name: Vec<u16>,
    host: Identity,
    kind: Kind,
}

/// The root above an object, and the way down from it, its last step first.
fn way(held: &Arc<Held>) -> Outcome<(Arc<Held>, Vec<Step>)> {
    let (mut at, mut steps) = (Arc::clone(held), Vec::new());
    loop {
        let Way::Place(place) = &at.way else { return Err(Errno::STALE) };
        let above = match &*place.at() {
            At::Root => None,
            At::Entry(entry) => {
                steps.push(Step { name: entry.name.clone(), host: entry.host, kind: at.kind });
                Some(Arc::clone(&entry.folder))
            }
            At::Nowhere => return Err(Errno::STALE),
        };
        match above {
            None => return Ok((at, steps)),
            Some(_) if steps.len() > DEEPEST => return Err(Errno::NAMETOOLONG),
            Some(above) => at = above,
        }
    }
}

/// Opens an object at its place, if it is still there.
pub(super) fn open(held: &Arc<Held>, how: How) -> Outcome<OwnedHandle> {
    match walk(held, how) {
        Err(Errno::STALE) => {
            let _turn = held.volume.still.turn();
            walk(held, how)
        }
        other => other,
    }
}

/// The same, for who has the [turn](super::volume::Still::turn) already.
pub(super) fn walk(held: &Arc<Held>, how: How) -> Outcome<OwnedHandle> {
    let (root, mut steps) = way(held)?;
    let mut open = None;
    while let Some(step) = steps.pop() {
        let from = open.as_ref().unwrap_or(&root.volume.root);
        let is_last = steps.is_empty();
        // What may be followed is looked at before.
        let this = if is_last && !how.follow { how } else { LOOK };
        let next = nt::open(from, Target::Name(&step.name), this).map_err(|error| match gone(error) {
            Errno::NOTDIR | Errno::LOOP if step.kind == Kind::Folder => Errno::STALE,
            Errno::ISDIR if step.kind != Kind::Folder => Errno::STALE,
            other => other,
        })?;
        if root.volume.which(&next)? != (step.host, step.kind) {
            return Err(Errno::STALE);
        }
        open = Some(next);
    }
    match open {
        Some(open) if !how.follow => Ok(open),
        Some(open) => nt::open(&open, Target::Name(&[]), how),
        None => nt::open(&root.volume.root, Target::Name(&[]), how),
    }
}

/// Whether a folder is `held`, or lies in it.
pub(super) fn lies_in(folder: &Arc<Held>, held: &Arc<Held>) -> bool {
    let mut at = Arc::clone(folder);
    for _ in 0..=DEEPEST {
        if Arc::ptr_eq(&at, held) {
            return true;
        }
        let Way::Place(place) = &at.way else { return false };
        let above = match &*place.at() {
            At::Entry(entry) => Arc::clone(&entry.folder),
            At::Root | At::Nowhere => return false,
        };
        at = above;
    }
    // Where nothing is opened any more it does not matter.
    true
}
