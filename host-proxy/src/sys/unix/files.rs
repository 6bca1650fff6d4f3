//! Directories and files that nobody else may touch, and how much memory the host has. Called by `home`, `lock`, `disk`
//! and everything that writes below the home.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Why a directory cannot be trusted.
#[derive(Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It belongs to this uid.
    Foreign(u32),
    /// Others may write to it (mode bits).
    Writable(u32),
    /// It is something else, perhaps a symbolic link.
    NotDirectory,
}

/// Creates `path` and what is missing above it, readable by the owner only. Not an error if it exists.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Looks at an existing directory; follows no link in the last component.
pub fn distrust(path: &Path) -> io::Result<Option<Distrust>> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(if !metadata.is_dir() {
        Some(Distrust::NotDirectory)
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        Some(Distrust::Foreign(metadata.uid()))
    } else if metadata.mode() & 0o022 != 0 {
        Some(Distrust::Writable(metadata.mode() & 0o7777))
    } else {
        None
    })
}

/// Takes away what group and others may do in a directory of ours.
pub fn make_private(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Options for a file that only its owner may read, if it is created.
pub fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Gives `to` the owner and the permissions of `from`: root, by sudo, must not take a user's file away.
pub fn copy_owner_and_mode(from: &Path, to: &Path) -> io::Result<()> {
    let [wanted, have] = [fs::metadata(from)?, fs::metadata(to)?];
    if (wanted.uid(), wanted.gid()) != (have.uid(), have.gid()) {
        // A user may not give files away; then it becomes theirs, as with every editor.
        let _ = std::os::unix::fs::chown(to, Some(wanted.uid()), Some(wanted.gid()));
    }
    fs::set_permissions(to, wanted.permissions())
}

/// Makes a symbolic link at `path` that leads to `target`; fails if anything is there.
pub fn link(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Locks `file` if nobody has; whether that worked.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks `file`, however long that takes.
pub fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

/// Whether an `error` of opening a lock's file may only mean that the file is on its way out: a removed one has no name here.
pub fn may_be_going(_error: &io::Error) -> bool {
    false
}

/// Whether `path` still names the open `file`.
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// Removes a held lock's file, if it is still the one at `path`.
pub fn remove_lock_file(file: &File, path: &Path) {
    if is_at(file, path) {
        // An unlocked file that stays is only litter.
        let _ = fs::remove_file(path);
    }
}

/// Makes renames and creations in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Lets `file` take only the room of what is written to it, which is so with every file here.
pub fn make_sparse(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Whether `file` holds no data at all, only holes. `false` also where the file system cannot tell.
pub fn is_hole(file: &File) -> bool {
    use rustix::fs::{SeekFrom, seek};
    seek(file, SeekFrom::Data(0)) == Err(rustix::io::Errno::NXIO)
}

/// Bytes that the file at `path` really takes on its disk.
pub fn allocated(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.blocks().saturating_mul(512))
}

/// Bytes that this user may still write where `path` is.
pub fn free_space(path: &Path) -> Option<u64> {
    let numbers = rustix::fs::statvfs(path).ok()?;
    numbers.f_bavail.checked_mul(numbers.f_frsize)
}

/// The user's number, for a directory name.
pub fn user() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

/// RAM of the host in bytes, total and available, where the system says so in `/proc/meminfo`.
pub fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}
