//! Files below the user's profile, which Windows keeps private by inheritance. Called by `home`, `lock`, `disk` and
//! everything that writes below the home.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Why a directory cannot be trusted.
#[derive(Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It belongs to this user.
    Foreign(u32),
    /// Others may write to it.
    Writable(u32),
    /// It is something else.
    NotDirectory,
}

/// Creates `path` and what is missing above it.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Looks at an existing directory.
pub fn distrust(path: &Path) -> io::Result<Option<Distrust>> {
    Ok((!fs::symlink_metadata(path)?.is_dir()).then_some(Distrust::NotDirectory))
}

/// The user's profile directory is private already.
pub fn make_private(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Options for a new file.
pub fn owner_only() -> OpenOptions {
    OpenOptions::new()
}

/// Permissions are inherited.
pub fn copy_owner_and_mode(_from: &Path, _to: &Path) -> io::Result<()> {
    Ok(())
}

/// Links to sockets are a custom of Unix.
pub fn link(_target: &Path, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lock files keep their names here, see [`remove_lock_file`].
pub fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Stays: whether a handle and a name are the same file cannot be asked with the standard library.
pub fn remove_lock_file(_file: &File, _path: &Path) {}

/// NTFS journals its directories.
pub fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Not asked of Windows yet: the guest looks for itself.
pub fn is_hole(_file: &File) -> bool {
    false
}

/// Bytes that `file` takes at most.
pub fn allocated(file: &fs::Metadata) -> u64 {
    file.len()
}

/// Not asked of Windows yet.
pub fn free_space(_path: &Path) -> Option<u64> {
    None
}

/// The user's name, for a directory name.
pub fn user() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}

/// Not asked of Windows yet.
pub fn memory() -> Option<(u64, u64)> {
    None
}
