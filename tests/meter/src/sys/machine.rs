//! The first process of a guest that has nothing but this program: it mounts the kernel's file systems, and of the host's folders
//! those that it is told, `TAG` or, for a folder `share` in it, `TAG/share`, each as `/TAG`: by virtio-fs, or what has the tag
//! `9p` by that.

use std::io;
use std::path::PathBuf;

use rustix::mount::{MountFlags, mount, mount_bind};

/// As Lima mounts it: what the host changes is seen, and programs may map files.
const NINEP: &std::ffi::CStr = c"trans=virtio,version=9p2000.L,msize=131072,cache=mmap";

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
        match tag {
            "9p" => mount(tag, &whole, "9p", MountFlags::NOATIME, Some(NINEP))?,
            // As lighter's own guest mounts it.
            _ => mount(tag, &whole, "virtiofs", MountFlags::NOATIME, None::<&std::ffi::CStr>)?,
        }
        mount_bind(whole.join(share), &at)?;
    }
    Ok(())
}
