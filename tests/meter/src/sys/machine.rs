//! The first process of a guest that has nothing but this program: it mounts the kernel's file systems, and of the host's folders
//! those that it is told, `TAG` or, for a folder `share` in it, `TAG/share`, each as `/TAG`.

use std::io;
use std::path::PathBuf;

use rustix::mount::{MountFlags, mount, mount_bind};

/// Makes the guest usable; the kernel has opened the console.
///
/// # Errors
/// When something cannot be mounted.
pub fn prepare(folders: &[&str]) -> io::Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp")] {
        std::fs::create_dir_all(at)?;
        mount(kind, at, kind, MountFlags::empty(), None::<&std::ffi::CStr>)?;
    }
    for folder in folders {
        let (tag, share) = folder.split_once('/').unwrap_or((folder, "."));
        let (whole, at) = (PathBuf::from("/whole").join(tag), PathBuf::from("/").join(tag));
        std::fs::create_dir_all(&whole)?;
        std::fs::create_dir_all(&at)?;
        // As lighter's own guest mounts it.
        mount(tag, &whole, "virtiofs", MountFlags::NOATIME, None::<&std::ffi::CStr>)?;
        mount_bind(whole.join(share), &at)?;
    }
    Ok(())
}
