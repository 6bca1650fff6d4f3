//! What a node is held by: its number on the volume, or where there is no opening by number, its [place](super::place). Not by a
//! handle: an open handle of anything in a folder keeps Windows from renaming the folder, for the guest and for the user's own
//! programs, so handles are opened for as long as one request takes. A number names its object for ever on NTFS and ReFS,
//! whoever renames it, and never another one. A place does so as long as nobody on the host renames the object: then the node is
//! stale, and the guest looks it up again.
//!
//! What loses its last name while it is held gets a handle just before, since neither finds it any more.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::OwnedHandle;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use windows_sys::Wdk::Storage::FileSystem::FILE_OPEN;
use windows_sys::Win32::Storage::FileSystem::FILE_READ_ATTRIBUTES;

use super::Outcome;
use super::attributes::{self, Real};
use super::nt::{self, How, Target};
use super::place::{self, At, Place};
use super::volume::Volume;
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::to_wide;
use crate::virtio::fs::host::{Identity, Kind};

/// Opens what is there, to look at it.
pub(super) const LOOK: How = How { access: FILE_READ_ATTRIBUTES, disposition: FILE_OPEN, options: 0, follow: false };

/// What is held; see the head of this file.
#[derive(Debug, Clone)]
pub struct Node(pub(super) Arc<Held>);

#[derive(Debug)]
pub(super) struct Held {
    pub(super) volume: Arc<Volume>,
    pub(super) way: Way,
    /// As the guest was told of it.
    pub(super) identity: Identity,
    pub(super) kind: Kind,
    /// Of what has no name any more.
    pub(super) last: OnceLock<OwnedHandle>,
}

/// How an object is found.
#[derive(Debug)]
pub(super) enum Way {
    /// By its number on the volume that the share's root lies on.
    Number(u128),
    /// By where it is.
    Place(Place),
}

impl Node {
    /// Opens it, whatever it is called now.
    pub(super) fn open(&self, how: How) -> Outcome<OwnedHandle> {
        match (self.0.last.get(), &self.0.way) {
            (Some(last), _) => nt::open(last, Target::Name(&[]), how).map_err(gone),
            (None, Way::Number(id)) => nt::open(&self.0.volume.root, Target::Id(*id), how).map_err(gone),
            (None, Way::Place(_)) => place::open(&self.0, how),
        }
    }

    /// What it is called just now, for comparing with what is reported. Nothing is opened by it.
    pub(super) fn path(&self) -> Outcome<PathBuf> {
        Ok(OsString::from_wide(&nt::path(&self.open(LOOK)?)?).into())
    }

    /// What it is on the host.
    pub(super) fn real(&self) -> Outcome<Real> {
        match self.0.last.get() {
            Some(last) => self.real_of(last),
            None => self.real_of(&self.open(LOOK)?),
        }
    }

    fn real_of(&self, open: &OwnedHandle) -> Outcome<Real> {
        let mut real = attributes::real(open)?;
        match &self.0.way {
            // The number was used again by a file system that does that, or its object was made to look like another one.
            Way::Number(_) if real.shown.identity != self.0.identity => Err(Errno::STALE),
            Way::Number(_) => Ok(real),
            // That it is the same one was seen when it was opened.
            Way::Place(_) => {
                real.shown.identity = self.0.identity;
                Ok(real)
            }
        }
    }

    /// Whether a handle that was opened by it is of what it is; for those that were to follow what they found.
    pub(super) fn is_open_as(&self, open: &OwnedHandle) -> Outcome<bool> {
        let (host, _) = self.0.volume.which(open)?;
        Ok(match &self.0.way {
            Way::Number(_) => host == self.0.identity,
            Way::Place(place) => matches!(&*place.at(), At::Entry(entry) if entry.host == host),
        })
    }

    /// Its own number, as a list has it.
    pub(super) fn inode(&self) -> u64 {
        self.0.identity.inode
    }

    /// Whether files have streams where it lies.
    pub(super) fn has_streams(&self) -> bool {
        self.0.volume.powers.streams
    }

    /// Opens what is in the folder that this is.
    pub(super) fn enter(&self, name: Name, how: How) -> Outcome<OwnedHandle> {
        let (name, volume) = (to_wide(name)?, &self.0.volume);
        match volume.enter(&self.folder()?, &name, how) {
            // A folder above may have been renamed between two steps, and then the paths of both differ.
            Err(Errno::LOOP) if !volume.powers.reparse => {
                let _turn = volume.still.turn();
                let folder = match &self.0.way {
                    Way::Number(_) => self.folder()?,
                    Way::Place(_) => place::walk(&self.0, LOOK)?,
                };
                volume.enter(&folder, &name, how)
            }
            other => other,
        }
    }

    /// Opens the folder that this is, to start from.
    pub(super) fn folder(&self) -> Outcome<OwnedHandle> {
        if self.0.kind == Kind::Folder { self.open(LOOK) } else { Err(Errno::NOTDIR) }
    }
}

/// What has been held is there no more.
pub(super) fn gone(error: Errno) -> Errno {
    match error {
        // How a number is refused that means nothing (any more).
        Errno::NOENT | Errno::INVAL => Errno::STALE,
        other => other,
    }
}

impl Drop for Held {
    /// A folder may be held by nothing but what is in it. One after the other, not one within the other: a guest makes them as
    /// deep as it likes.
    fn drop(&mut self) {
        let mut above = self.take_folder();
        while let Some(folder) = above {
            above = Arc::into_inner(folder).and_then(|mut folder| folder.take_folder());
        }
    }
}

impl Held {
    fn take_folder(&mut self) -> Option<Arc<Self>> {
        match &mut self.way {
            Way::Number(_) => None,
            Way::Place(place) => place.take_folder(),
        }
    }
}
