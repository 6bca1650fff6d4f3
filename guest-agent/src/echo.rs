//! Does once more in the guest what happened in a shared folder on the host, so that the guest's kernel makes events of it and
//! renews what it has cached. The host knows this thread, answers what it asks, and does nothing of it. Called by `control`.
//!
//! ```text
//!   made      ─► mknod, mkdir or symlink ──(is there already)──► renew, and again
//!   removed   ─► unlink or rmdir ──────────(is not there)──────► renew, and again
//!   renamed   ─► rename ───────────────────(is not there)──► renew, and again
//!   content   ─► open for writing, write a byte (not to the host's own pages), close
//!   attributes ─► chmod
//!   outdated  ─► stat: before much of the above, so that what the kernel keeps is not old until its turn comes
//! ```
//! To renew is to list the folder: the host answers with nothing but the entry in question, and that it is not to be believed.
//! What the kernel refuses makes no event (a file that runs as a program is not opened for writing), but then it is at least asked for
//! anew.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use lighter_protocol::{EntryKind, Outdated, Place, Raise, Raised, Reply};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Statx, mkdirat, mknodat, openat, openat2,
    renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::frames::{FrameError, Frames};
use crate::paths::FOLDERS;

/// For an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nothing on the way down is a link, whatever the host has there.
const BELOW: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

type Outcome<T> = Result<T, Errno>;

/// Serves the host until it hangs up. Whatever comes is done by the calling thread alone.
pub fn serve(frames: &mut Frames) -> Result<(), FrameError> {
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    frames.send(&Reply::Herald { thread }, deadline())?;
    // Opened when first needed: without shared folders it is not there.
    let mut root = None;
    loop {
        // The host may be silent for days.
        let Some(raise) = frames.message::<Raise>(Instant::now() + Duration::from_secs(1 << 30))? else {
            return Ok(());
        };
        if root.is_none() {
            root = rustix::fs::open(FOLDERS, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
        }
        let done = root.as_ref().map_or(Err(Errno::NOENT), |root| repeat(root, &raise));
        frames.send(&Raised { errno: done.err().map(Errno::raw_os_error) }, deadline())?;
    }
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Does once more what somebody did on the host, below `root`, where its folders are.
///
/// # Errors
/// What the kernel said, so that there was no event.
pub fn repeat(root: &OwnedFd, raise: &Raise) -> Outcome<()> {
    // Why it could not be asked anew either says nothing beside that.
    echo(root, raise).inspect_err(|_| _ = ask_anew(root, raise))
}

fn ask_anew(root: &OwnedFd, raise: &Raise) -> Outcome<()> {
    match raise {
        Raise::Made { at, .. } | Raise::Removed { at, .. } | Raise::Renamed { from: at, .. } => {
            renew(&folder(root, &at.folder)?)
        }
        Raise::Content { at } | Raise::Attributes { at } => stat_anew(&folder(root, &at.folder)?, name(&at.name)?),
        Raise::Outdated { .. } => Ok(()),
    }
}

fn stat_anew(folder: &OwnedFd, name: &str) -> Outcome<()> {
    let now = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    rustix::fs::statx(folder, name, now, rustix::fs::StatxFlags::BASIC_STATS).map(drop)
}

/// Whatever of it is there no more is asked for by the next one who wants it.
fn outdated(root: &OwnedFd, folders: &[Outdated]) {
    for Outdated { folder: at, entries } in folders {
        let Ok(folder) = folder(root, at) else { continue };
        // A list that the kernel has is an old one if the folder has another time.
        let _ = folder_anew(&folder);
        for entry in entries {
            let _ = name(entry).and_then(|name| stat_anew(&folder, name));
        }
    }
}

fn echo(root: &OwnedFd, raise: &Raise) -> Outcome<()> {
    match raise {
        Raise::Made { at, kind } => make(root, at, *kind),
        Raise::Removed { at, kind } => {
            let folder = folder(root, &at.folder)?;
            let flags = if *kind == EntryKind::Folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let remove = || unlinkat(&folder, name(&at.name)?, flags);
            again_if(remove, Errno::NOENT, || renew(&folder))
        }
        Raise::Renamed { from, to } => {
            let (source, target) = (folder(root, &from.folder)?, folder(root, &to.folder)?);
            let rename = || renameat_with(&source, name(&from.name)?, &target, name(&to.name)?, RenameFlags::empty());
            again_if(rename, Errno::NOENT, || renew(&source))
        }
        Raise::Content { at } => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
            let file = openat2(folder(root, &at.folder)?, name(&at.name)?, flags, Mode::empty(), BELOW)?;
            if is_hosts_own(&renewed(&file)?) {
                // Closing it makes an event as well, if another one.
                return Err(Errno::OPNOTSUPP);
            }
            rustix::io::write(&file, b"\0").map(drop)
        }
        Raise::Attributes { at } => {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let entry = openat2(folder(root, &at.folder)?, name(&at.name)?, flags, Mode::empty(), BELOW)?;
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&entry));
            rustix::fs::chmod(path, Mode::RUSR)
        }
        Raise::Outdated { folders } => {
            outdated(root, folders);
            Ok(())
        }
    }
}

/// Asks the host about a file, before there is an event: who is woken by that and reads by `sendfile` gets as many bytes as the
/// kernel thinks that the file has, and nobody asks again.
fn renewed(file: &OwnedFd) -> Outcome<Statx> {
    let now = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    rustix::fs::statx(file, c"", now, rustix::fs::StatxFlags::BASIC_STATS)
}

/// Whether the kernel has a file's pages of the host itself (DAX). What is written to them is written there, and nobody is asked.
fn is_hosts_own(about: &Statx) -> bool {
    about.stx_attributes.contains(rustix::fs::StatxAttributes::DAX)
}

fn make(root: &OwnedFd, at: &Place, kind: EntryKind) -> Outcome<()> {
    let (folder, name) = (folder(root, &at.folder)?, name(&at.name)?);
    let mode = Mode::RUSR | Mode::WUSR;
    let make = || match kind {
        EntryKind::Folder => mkdirat(&folder, name, mode),
        EntryKind::Link => symlinkat("-", &folder, name),
        EntryKind::File | EntryKind::Other => mknodat(&folder, name, FileType::RegularFile, mode, 0),
    };
    again_if(make, Errno::EXIST, || renew(&folder))
}

/// Once more, if the kernel's cache was in the way.
fn again_if(act: impl Fn() -> Outcome<()>, cached: Errno, renew: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    match act() {
        Err(error) if error == cached => {
            renew()?;
            act()
        }
        other => other,
    }
}

fn renew(folder: &OwnedFd) -> Outcome<()> {
    // A list that the kernel has is an old one if the folder has changed, which it asks for when it has to.
    folder_anew(folder)?;
    let list = openat(folder, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Dir::new(list)?.try_for_each(|entry| entry.map(drop))
}

fn folder_anew(folder: &OwnedFd) -> Outcome<()> {
    let now = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    rustix::fs::statx(folder, c"", now, rustix::fs::StatxFlags::MTIME).map(drop)
}

/// A folder of the host's. What opens it makes no event.
fn folder(root: &OwnedFd, at: &str) -> Outcome<OwnedFd> {
    openat2(root, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), BELOW)
}

/// One step down and no further.
fn name(name: &str) -> Outcome<&str> {
    match name {
        "" | "." | ".." => Err(Errno::INVAL),
        name if name.contains('/') => Err(Errno::INVAL),
        name => Ok(name),
    }
}
