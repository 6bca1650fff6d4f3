//! What a node is held by: its number on the volume, not a handle. An open handle of anything in a folder keeps Windows from
//! renaming the folder, for the guest and for the user's own programs, so handles are opened for as long as one request takes.
//! A number names its object for ever on NTFS and ReFS, whoever renames it, and never another one.
//!
//! What loses its last name while it is held gets a handle just before, since the number alone finds it no more.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use windows_sys::Wdk::Storage::FileSystem::FILE_OPEN;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_READ_ATTRIBUTES, SYNCHRONIZE};

use super::Outcome;
use super::attributes::{self, Real};
use super::nt::{self, How, Target};
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::foreign::to_wide;
use crate::virtio::fs::host::{Identity, Kind};

/// Opens what is there, to look at it.
pub(super) const LOOK: How = How { access: FILE_READ_ATTRIBUTES, disposition: FILE_OPEN, options: 0, follow: false };
/// Fewer than these are never looked through for those that are held no more.
const FEW: usize = 64;

/// What is held; see the head of this file.
#[derive(Debug, Clone)]
pub struct Node(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// The share's root, which is held by a handle: the number counts on its volume.
    volume: Arc<OwnedHandle>,
    id: u128,
    identity: Identity,
    kind: Kind,
    /// Of what has no name any more.
    last: OnceLock<OwnedHandle>,
}

impl Node {
    /// Opens it, whatever it is called now.
    pub(super) fn open(&self, how: How) -> Outcome<OwnedHandle> {
        match self.0.last.get() {
            Some(last) => nt::open(last, Target::Name(&[]), how).map_err(gone),
            None => nt::open(&self.0.volume, Target::Id(self.0.id), how).map_err(gone),
        }
    }

    /// What it is called just now, for comparing with what is reported. Nothing is opened by it.
    pub(super) fn path(&self) -> Outcome<PathBuf> {
        Ok(OsString::from_wide(&nt::path(&self.open(LOOK)?)?).into())
    }

    /// What it is on the host.
    pub(super) fn real(&self) -> Outcome<Real> {
        let real = match self.0.last.get() {
            Some(last) => attributes::real(last)?,
            None => attributes::real(&self.open(LOOK)?)?,
        };
        // The number was used again by a file system that does that, or its object was made to look like another one.
        if real.shown.identity == self.0.identity { Ok(real) } else { Err(Errno::STALE) }
    }

    /// Opens what is in the folder that this is.
    pub(super) fn enter(&self, name: Name, how: How) -> Outcome<OwnedHandle> {
        let name = to_wide(name)?;
        nt::open(&self.folder()?, Target::Name(&name), how)
    }

    /// Opens the folder that this is, to start from.
    pub(super) fn folder(&self) -> Outcome<OwnedHandle> {
        if self.0.kind == Kind::Folder { self.open(LOOK) } else { Err(Errno::NOTDIR) }
    }
}

/// What has been held is there no more.
fn gone(error: Errno) -> Errno {
    match error {
        // How a number is refused that means nothing (any more).
        Errno::NOENT | Errno::INVAL => Errno::STALE,
        other => other,
    }
}

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

/// All that is held, so that what loses its name can be given a handle.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_identity: HashMap<Identity, Weak<Held>>,
    /// At so many it is looked through.
    full: usize,
}

impl Nodes {
    /// Holds the folder at `path`, links in it followed.
    pub(super) fn root(&self, path: &Path) -> Outcome<Node> {
        let open = OpenOptions::new()
            .access_mode(FILE_READ_ATTRIBUTES | SYNCHRONIZE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)
            .map_err(|error| nt::io_errno(&error))?;
        let root = Arc::new(OwnedHandle::from(open));
        let node = self.node(&root, &attributes::real(&root)?);
        if node.0.kind != Kind::Folder {
            return Err(Errno::NOTDIR);
        }
        // Said here, not at the guest's first step: a file system that finds nothing by number, as on a network.
        node.real().map_err(|_| Errno::OPNOTSUPP)?;
        Ok(node)
    }

    /// Holds what `name` in a folder is.
    pub(super) fn hold(&self, folder: &Node, name: Name) -> Outcome<Node> {
        let open = folder.enter(name, LOOK)?;
        Ok(self.held(folder, &attributes::real(&open)?))
    }

    /// Holds what lies on the same volume as a folder.
    pub(super) fn held(&self, folder: &Node, real: &Real) -> Node {
        self.node(&folder.0.volume, real)
    }

    fn node(&self, volume: &Arc<OwnedHandle>, real: &Real) -> Node {
        let mut known = self.lock();
        let identity = real.shown.identity;
        if let Some(held) = known.by_identity.get(&identity).and_then(Weak::upgrade) {
            return Node(held);
        }
        if known.by_identity.len() >= known.full.max(FEW) {
            known.by_identity.retain(|_, held| held.strong_count() > 0);
            known.full = 2 * known.by_identity.len();
        }
        let held = Arc::new(Held {
            volume: Arc::clone(volume),
            id: real.id,
            identity,
            kind: real.shown.kind,
            last: OnceLock::new(),
        });
        known.by_identity.insert(identity, Arc::downgrade(&held));
        Node(held)
    }

    /// What `open` is a handle of is about to lose a name, and may be without one then. To be kept once it is.
    pub(super) fn last(&self, open: &OwnedHandle, real: &Real) -> Option<Last> {
        if real.shown.kind != Kind::Folder && real.shown.links > 1 {
            return None;
        }
        let held = self.lock().by_identity.get(&real.shown.identity).and_then(Weak::upgrade)?;
        let handle = nt::open(open, Target::Name(&[]), LOOK).ok()?;
        Some(Last { held, handle })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // A map has no broken state in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
