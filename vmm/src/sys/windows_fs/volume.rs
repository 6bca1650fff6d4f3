//! What a share lies on, and which of the things that differ between file systems it can do. It is asked and tried, once for each
//! volume, and never concluded from a name: there are more file systems than names that we know.

use std::os::windows::io::OwnedHandle;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_sys::Wdk::Storage::FileSystem::FILE_CREATE;
use windows_sys::Win32::Storage::FileSystem::FILE_BASIC_INFO;

use super::Outcome;
use super::attributes::{self, Real};
use super::node::LOOK;
use super::nt::{self, How, Target};
use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Identity, Kind};

/// Of what a file system says: it has reparse points, and streams, and opens files by number. (Among the constants of winnt.h.)
const FILE_SUPPORTS_REPARSE_POINTS: u32 = 0x0000_0080;
const FILE_NAMED_STREAMS: u32 = 0x0004_0000;
const FILE_SUPPORTS_OPEN_BY_FILE_ID: u32 = 0x0100_0000;

/// What objects on a volume are held by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Their numbers, which are good for opening them and never another's: NTFS, ReFS.
    Number,
    /// Their places; see [`super::place`]. FAT, exFAT, most of what lies behind a network.
    Place {
        /// Whether the time that an object was made at tells it from one that gets its number later. Where a file system has no
        /// such time it says another one, which changes.
        births: bool,
    },
}

/// What a volume can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Powers {
    pub(super) by: By,
    /// Files have streams beside their content.
    pub(super) streams: bool,
    /// It knows reparse points, and so that they are not to be followed. What does not may have links of its own, which it
    /// follows unasked.
    pub(super) reparse: bool,
}

impl Powers {
    /// Of the volume that a folder lies on.
    pub(super) fn of(folder: &OwnedHandle, real: &Real) -> Outcome<Self> {
        // What says nothing can do nothing.
        let says = nt::powers(folder).unwrap_or(0);
        // Trying it on the folder that one starts from is no proof by itself: that can be found without looking.
        let by_number = says & FILE_SUPPORTS_OPEN_BY_FILE_ID != 0 && {
            let again = nt::open(folder, Target::Id(real.id), LOOK).and_then(|open| attributes::which(&open));
            again.is_ok_and(|(found, _)| found == real.host)
        };
        let by = if by_number { By::Number } else { By::Place { births: births(&nt::query(folder)?) } };
        let (streams, reparse) = (says & FILE_NAMED_STREAMS != 0, says & FILE_SUPPORTS_REPARSE_POINTS != 0);
        Ok(Self { by, streams, reparse })
    }

    /// What of an object's identity on the host counts.
    fn counted(self, host: Identity) -> Identity {
        match self.by {
            By::Number | By::Place { births: true } => host,
            By::Place { births: false } => Identity { birth: 0, ..host },
        }
    }
}

/// Whether a path is a folder's and one name.
fn is_in(path: &[u16], folder: &[u16]) -> bool {
    const SEPARATOR: u16 = b'\\' as u16;
    // That of a volume's root ends so.
    let folder = folder.strip_suffix(&[SEPARATOR]).unwrap_or(folder);
    let name = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix(&[SEPARATOR]));
    name.is_some_and(|name| !name.is_empty() && !name.contains(&SEPARATOR))
}

/// A time that somebody makes up out of the others is one of them.
fn births(times: &FILE_BASIC_INFO) -> bool {
    ![0, times.LastAccessTime, times.LastWriteTime, times.ChangeTime].contains(&times.CreationTime)
}

/// A share's root, by which everything in it is found.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) root: OwnedHandle,
    pub(super) powers: Powers,
    /// Its own number.
    pub(super) device: u64,
    /// Within which an identity is one object's: 0 is all volumes that are held by number, whose own number is in the identity.
    /// Others may have none of their own, so each share counts for itself.
    pub(super) scope: u64,
    pub(super) still: Arc<Still>,
}

impl Volume {
    /// Opens an entry of a folder of which this is a handle.
    ///
    /// # Errors
    /// `ELOOP` also if it is not certain that it lies there.
    pub(super) fn enter(&self, folder: &OwnedHandle, name: &[u16], how: How) -> Outcome<OwnedHandle> {
        let open = nt::open(folder, Target::Name(name), how)?;
        // What has just been made is no link.
        if self.powers.reparse || how.disposition == FILE_CREATE {
            return Ok(open);
        }
        match (nt::path(&open), nt::path(folder)) {
            (Ok(path), Ok(folder)) if is_in(&path, &folder) => Ok(open),
            _ => Err(Errno::LOOP),
        }
    }

    /// What a handle is of, and of that what counts.
    pub(super) fn real(&self, handle: &OwnedHandle) -> Outcome<Real> {
        let real = attributes::real(handle)?;
        self.is_on(real.host)?;
        Ok(Real { host: self.powers.counted(real.host), ..real })
    }

    /// Less of that.
    pub(super) fn which(&self, handle: &OwnedHandle) -> Outcome<(Identity, Kind)> {
        let (host, kind) = attributes::which(handle)?;
        self.is_on(host)?;
        Ok((self.powers.counted(host), kind))
    }

    /// Nothing that is found here lies elsewhere; what seems to was renamed while it was asked.
    fn is_on(&self, host: Identity) -> Outcome<()> {
        if host.device == self.device { Ok(()) } else { Err(Errno::STALE) }
    }
}

/// The guest renames one thing at a time where places count; who finds nothing at a place meanwhile waits and looks again.
#[derive(Debug, Default)]
pub(super) struct Still {
    turn: Mutex<()>,
    moves: AtomicU64,
}

impl Still {
    /// Nothing is renamed by the guest as long as this is kept.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Something was.
    pub(super) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_name_below_a_folder_is_in_it() {
        let is_in = |path: &str, folder: &str| {
            let wide = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
            super::is_in(&wide(path), &wide(folder))
        };
        assert!(is_in(r"\\?\C:\share\file", r"\\?\C:\share"));
        assert!(is_in(r"\\?\E:\file", r"\\?\E:\"), "a volume's root");
        for elsewhere in [r"\\?\C:\share", r"\\?\C:\share\", r"\\?\C:\shared\file", r"\\?\C:\share\a\b", r"\\?\C:\file"]
        {
            assert!(!is_in(elsewhere, r"\\?\C:\share"), "{elsewhere}");
        }
    }

    #[test]
    fn a_birth_that_is_another_time_is_none() {
        let times = |creation, write, access, change| FILE_BASIC_INFO {
            CreationTime: creation,
            LastWriteTime: write,
            LastAccessTime: access,
            ChangeTime: change,
            ..FILE_BASIC_INFO::default()
        };
        assert!(births(&times(1, 2, 3, 4)));
        assert!(births(&times(1, 2, 3, 0)), "FAT has no time of change");
        for made_up in [times(0, 2, 3, 4), times(1, 1, 3, 4), times(1, 2, 1, 4), times(1, 2, 3, 1)] {
            assert!(!births(&made_up));
        }
    }
}
