//! What cases set up and look at over and over: files and folders under short names, and what `stat` says of them.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Gid, Mode, OFlags, Stat, Uid, lstat, mkdir, open};

use crate::case::{Held, Wrong};

/// Makes a folder, mode 0755.
#[track_caller]
pub fn folder(path: &str) -> Held {
    mkdir(path, bits(0o755)).map_err(Wrong::new)
}

/// Makes or empties a file, mode 0644, and writes `content` to it.
#[track_caller]
pub fn put(path: &str, content: impl AsRef<[u8]>) -> Held {
    std::fs::write(path, content).map_err(Wrong::new)
}

/// An empty file.
#[track_caller]
pub fn file(path: &str) -> Held {
    put(path, "")
}

/// What is in a file, which is text.
#[track_caller]
pub fn text(path: &str) -> Result<String, Wrong> {
    std::fs::read_to_string(path).map_err(Wrong::new)
}

/// Opens what is there.
#[track_caller]
pub fn opened(path: &str, flags: OFlags) -> Result<OwnedFd, Wrong> {
    open(path, flags, Mode::empty()).map_err(Wrong::new)
}

/// Makes a file, mode 0644, and opens it for reading and writing.
#[track_caller]
pub fn made(path: &str) -> Result<OwnedFd, Wrong> {
    open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, bits(0o644)).map_err(Wrong::new)
}

/// Mode bits by number.
pub fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode)
}

/// `st_mode & 07777`
pub fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// The mode bits of what is there, not of what it leads to, are these.
#[track_caller]
pub fn mode_is(path: &str, wanted: u32) -> Held {
    let got = mode_of(&lstat(path).map_err(Wrong::new)?);
    if got == wanted { Ok(()) } else { Err(Wrong::new(format!("{path}: wanted mode {wanted:04o}, got {got:04o}"))) }
}

/// It belongs to these.
#[track_caller]
pub fn owner_is(path: &str, uid: u32, gid: u32) -> Held {
    let stat = lstat(path).map_err(Wrong::new)?;
    let got = (stat.st_uid, stat.st_gid);
    if got == (uid, gid) { Ok(()) } else { Err(Wrong::new(format!("{path}: wanted {uid}:{gid}, got {got:?}"))) }
}

/// Gives what is there, itself, to someone.
#[track_caller]
pub fn give(path: &str, uid: u32, gid: u32) -> Held {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(Wrong::new)
}

/// Sets mode bits.
#[track_caller]
pub fn allow(path: &str, mode: u32) -> Held {
    rustix::fs::chmod(path, bits(mode)).map_err(Wrong::new)
}

/// Whether there is something by this name, be it a link that leads nowhere.
pub fn is_there(path: &str) -> bool {
    lstat(path).is_ok()
}

/// Seconds and nanoseconds of the last change of anything.
pub fn changed(path: &str) -> Result<(i64, u64), Wrong> {
    let stat = lstat(path)?;
    Ok((stat.st_ctime, stat.st_ctime_nsec))
}

/// Seconds and nanoseconds of the last change of content.
pub fn modified(path: &str) -> Result<(i64, u64), Wrong> {
    let stat = lstat(path)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec))
}

/// Waits until a file system that counts time in ticks of the kernel has a new one.
pub fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(25));
}
