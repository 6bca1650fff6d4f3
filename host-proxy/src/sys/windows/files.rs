//! Directories and files that no other user may touch: a private directory gives what is made in it its own access list.
//! Called by `home`, `lock`, `disk` and everything that writes below the home.
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::{CreateDirectoryW, GetDiskFreeSpaceExW};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

use super::security::Descriptor;

pub use super::locks::{is_at, lock, may_be_going, remove_lock_file, try_lock};
pub use super::sparse::{allocated, is_hole, make_sparse};

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

/// Creates `path` and what is missing above it, for this user only. Not an error if it exists.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let access = Descriptor::private_folder()?;
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.is_dir()).collect();
    for path in missing.into_iter().rev() {
        match create_dir(path, &access) {
            Err(_) if path.is_dir() => (),
            result => result?,
        }
    }
    Ok(())
}

fn create_dir(path: &Path, access: &Descriptor) -> io::Result<()> {
    let (path, attributes) = (wide(path), access.attributes());
    // SAFETY: the path ends with a zero, and it and what the attributes point to live until the call is over.
    let created = unsafe { CreateDirectoryW(path.as_ptr(), &attributes) };
    if created == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// From so many characters on a plain path names no folder (`MAX_PATH` less a short file name), and the form is needed that
/// nothing is looked up in.
const LONG: usize = 248;

/// As Windows takes it. No path has a zero in it; what is behind one would be left out.
fn wide(path: &Path) -> Vec<u16> {
    let plain: Vec<u16> = path.as_os_str().encode_wide().collect();
    let drive = plain.get(1..3) == Some(&[u16::from(b':'), u16::from(b'\\')]);
    let verbatim = if drive && plain.len() >= LONG { r"\\?\" } else { "" };
    verbatim.encode_utf16().chain(plain).chain([0]).collect()
}

/// Looks at an existing directory.
pub fn distrust(path: &Path) -> io::Result<Option<Distrust>> {
    Ok((!fs::symlink_metadata(path)?.is_dir()).then_some(Distrust::NotDirectory))
}

/// Those that we did not make are in the user's profile, which is private, or where the user wants them.
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

/// NTFS journals its directories.
pub fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user may still write where `path` is, a directory.
pub fn free_space(path: &Path) -> Option<u64> {
    let path = wide(path);
    let mut free = 0;
    // SAFETY: the path ends with a zero, `free` is written to, and the other two numbers may be left out.
    let told = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &mut free, ptr::null_mut(), ptr::null_mut()) };
    (told != 0).then_some(free)
}

/// The user's name, for a directory name.
pub fn user() -> String {
    std::env::var("USERNAME").unwrap_or_default()
}

/// RAM of the host in bytes, total and available.
pub fn memory() -> Option<(u64, u64)> {
    // A size of a few words.
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: `status` is written to, and says how long it is.
    let told = unsafe { GlobalMemoryStatusEx(&mut status) };
    (told != 0).then_some((status.ullTotalPhys, status.ullAvailPhys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::windows::security;

    #[test]
    fn folders_are_made_for_this_user_and_what_is_in_them_too() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a").join("b");
        create_private_dir(&below).unwrap();
        create_private_dir(&below).unwrap();
        let user = security::user_sid().unwrap();
        for path in [dir.path().join("a"), below.clone()] {
            let access = security::dacl_of_file(&path).unwrap();
            assert!(access.contains(&user) && !access.contains("WD)"), "{path:?}: {access}");
        }
        fs::write(below.join("file"), "x").unwrap();
        assert!(create_private_dir(&below.join("file")).is_err());
        assert!(free_space(&below).unwrap() > 0);
        let (total, available) = memory().unwrap();
        assert!(0 < available && available <= total);
    }
}
