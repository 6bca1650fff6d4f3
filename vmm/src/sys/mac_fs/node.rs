//! What a node is held by. A descriptor for events only is as near to `O_PATH` as macOS comes: it is what the node is, whoever
//! renames it, and keeps no volume from being ejected; but it is an opened file all the same. So pipes, sockets and devices,
//! where opening does something, and what our user may not read are not opened but known by folder, name and identity.
//!
//! A descriptor cannot be opened again with other rights (`/dev/fd` only copies it), so content is opened by name. The name is
//! that under which the node was found, else what the kernel says it is called now; it proves nothing in either case. What was
//! opened by it counts only if it is the same object as the one that is held, and is let go untouched otherwise.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, getpath, openat, statat};

use super::{Outcome, errno, real};
use crate::virtio::fs::Errno;
use crate::virtio::fs::Name;
use crate::virtio::fs::host::{Attributes, Identity, Kind};

/// `O_EVTONLY`
const EVENTS: OFlags = OFlags::from_bits_retain(libc::O_EVTONLY.cast_unsigned());
/// Nothing here is to become a terminal of ours, nor to wait for anyone.
const QUIET: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// What is held; see the head of this file.
#[derive(Debug)]
pub enum Node {
    /// By a descriptor. One without a place is a share's root.
    Open(Arc<OwnedFd>, Option<Place>),
    /// By name only: it is there as long as nobody renames it.
    Named(Place, Identity),
}

/// An entry of a folder. The folder stays open as long as anything in it is held, so that there can be twice as many
/// descriptors as there are nodes held, but not more.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: Box<[u8]>,
}

impl Place {
    /// What is there.
    fn real(&self) -> Outcome<Attributes> {
        Ok(real(&statat(&self.folder, &*self.name, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?))
    }

    fn has(&self, identity: Identity) -> bool {
        self.real().is_ok_and(|there| there.identity == identity)
    }

    /// Opens a file or a folder that is there; no link is followed.
    pub(super) fn open(&self, flags: OFlags) -> Outcome<OwnedFd> {
        openat(&self.folder, &*self.name, flags | OFlags::NOFOLLOW | QUIET, Mode::empty()).map_err(errno)
    }

    /// Holds what is there. Between the look at what it is and the opening it can become something else: then once more.
    fn hold(self) -> Outcome<Node> {
        for _ in 0..16 {
            let there = self.real()?;
            let open = match there.kind {
                Kind::File | Kind::Folder => self.open(EVENTS),
                // Itself, not what it leads to.
                Kind::Link => {
                    openat(&self.folder, &*self.name, EVENTS | OFlags::SYMLINK | QUIET, Mode::empty()).map_err(errno)
                }
                Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => Err(Errno::ACCES),
            };
            match open {
                Ok(open) if identity(&open)? == there.identity => return Ok(Node::Open(Arc::new(open), Some(self))),
                Ok(_) | Err(Errno::LOOP) => {}
                Err(Errno::ACCES | Errno::PERM) => return Ok(Node::Named(self, there.identity)),
                Err(other) => return Err(other),
            }
        }
        Err(Errno::AGAIN)
    }
}

impl Node {
    /// See `HostFs::root`.
    pub(super) fn root(path: &Path) -> Outcome<Self> {
        let open = openat(CWD, path, EVENTS | OFlags::DIRECTORY | QUIET, Mode::empty()).map_err(errno)?;
        Ok(Self::Open(Arc::new(open), None))
    }

    /// See `HostFs::hold`.
    pub(super) fn hold(folder: &Self, name: Name) -> Outcome<Self> {
        Place { folder: folder.descriptor()?, name: name.bytes().into() }.hold()
    }

    /// What it is on the host.
    pub(super) fn real(&self) -> Outcome<Attributes> {
        match self {
            Self::Open(open, _) => Ok(real(&fstat(open).map_err(errno)?)),
            Self::Named(place, identity) => {
                let there = place.real()?;
                if there.identity == *identity { Ok(there) } else { Err(Errno::STALE) }
            }
        }
    }

    /// The descriptor. What could not be opened may have become readable since.
    pub(super) fn descriptor(&self) -> Outcome<Arc<OwnedFd>> {
        match self {
            Self::Open(open, _) => Ok(Arc::clone(open)),
            Self::Named(place, expected) => match place.clone().hold()? {
                Self::Open(open, _) if identity(&open)? == *expected => Ok(open),
                Self::Open(..) => Err(Errno::STALE),
                Self::Named(..) => Err(Errno::ACCES),
            },
        }
    }

    /// What it is called just now, for comparing with what is reported. Nothing is opened by it.
    pub(super) fn path(&self) -> Outcome<PathBuf> {
        let path = getpath(&*self.descriptor()?).map_err(|_| Errno::STALE)?;
        Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
    }

    /// Where it is just now. By the next call somebody may have put something else there: see [`Self::open`].
    pub(super) fn place(&self) -> Outcome<Place> {
        match self {
            Self::Named(place, identity) if place.has(*identity) => Ok(place.clone()),
            Self::Named(..) => Err(Errno::STALE),
            Self::Open(open, place) => {
                let identity = identity(open)?;
                if let Some(place) = place.as_ref().filter(|place| place.has(identity)) {
                    return Ok(place.clone());
                }
                let place = called(open)?;
                if place.has(identity) { Ok(place) } else { Err(Errno::STALE) }
            }
        }
    }

    /// Opens it for its content; it is a file or a folder. Nothing is done to what turns out to be something else.
    pub(super) fn open(&self, flags: OFlags) -> Outcome<OwnedFd> {
        let expected = self.real()?.identity;
        let open = self.place()?.open(flags - OFlags::TRUNC)?;
        if identity(&open)? == expected { Ok(open) } else { Err(Errno::STALE) }
    }
}

pub(super) fn identity(open: &OwnedFd) -> Outcome<Identity> {
    Ok(real(&fstat(open).map_err(errno)?).identity)
}

/// Where the kernel believes an open object to be, by one of its names.
fn called(open: &OwnedFd) -> Outcome<Place> {
    // What has no name any more has no path either, however the kernel says that.
    let path = getpath(open).map_err(|_| Errno::STALE)?.into_bytes();
    let slash = path.iter().rposition(|&byte| byte == b'/').ok_or(Errno::STALE)?;
    let (folder, name) = (&path[..=slash], &path[slash + 1..]);
    let name = Name::new(name).map_err(|_| Errno::STALE)?;
    // A path of the kernel's has no link in it; one that somebody puts there now is not followed.
    let flags = EVENTS | OFlags::DIRECTORY | OFlags::NOFOLLOW_ANY | QUIET;
    let folder = openat(CWD, folder, flags, Mode::empty()).map_err(|_| Errno::STALE)?;
    Ok(Place { folder: Arc::new(folder), name: name.bytes().into() })
}
