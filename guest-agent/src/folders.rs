//! The host's folders: one file system with all of them, out of which each is mounted where the host said. A folder that cannot be
//! is missed, and said so; the machine runs without it. Nothing here walks through a folder of the host's, or makes or removes
//! anything in one. Called by `boot`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use lighter_protocol::SharedFolder;
use lighter_protocol::paths::FOLDERS_TAG;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use crate::paths::FOLDERS;

/// Why one is missing.
#[derive(Debug, thiserror::Error)]
enum FolderError {
    /// Not what a host says.
    #[error("its path or name cannot be")]
    Wrong,
    /// There is no place for it.
    #[error("there is no place for it at {at}")]
    Place {
        at: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("it cannot be mounted")]
    Mount(#[source] io::Error),
}

/// Mounts all, in order.
pub fn mount_all(folders: &[SharedFolder]) {
    if folders.is_empty() {
        return;
    }
    if let Err(error) = mount_source() {
        tracing::error!(%error, "folders of the host cannot be mounted");
        return;
    }
    let source = fs::metadata(FOLDERS).map(|metadata| metadata.dev());
    for folder in folders {
        match mount_one(folder, source.as_ref().ok().copied()) {
            Ok(()) => tracing::info!(at = folder.at, writable = folder.writable, "folder of the host"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(at = folder.at, %error, cause, "folder of the host is missing");
            }
        }
    }
}

/// The file system with all of them, which only root reaches.
fn mount_source() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDERS)?;
    Ok(mount(FOLDERS_TAG, FOLDERS, "virtiofs", MountFlags::NOATIME, None::<&std::ffi::CStr>)?)
}

fn mount_one(folder: &SharedFolder, source: Option<u64>) -> Result<(), FolderError> {
    let at = Path::new(&folder.at);
    let plain = |component| matches!(component, Component::Normal(_));
    let named = !folder.name.is_empty() && !folder.name.contains('/') && !folder.name.starts_with('.');
    if !named || !at.has_root() || at.components().skip(1).count() == 0 || !at.components().skip(1).all(plain) {
        return Err(FolderError::Wrong);
    }
    make_place(at, source).map_err(|source| FolderError::Place { at: at.to_owned(), source })?;
    let mount = || {
        mount_bind(Path::new(FOLDERS).join(&folder.name), at)?;
        // The host refuses to write as well; so programs hear of it before they try.
        if folder.writable { Ok(()) } else { mount_remount(at, MountFlags::BIND | MountFlags::RDONLY, "") }
    };
    mount().map_err(|errno: rustix::io::Errno| FolderError::Mount(errno.into()))
}

/// Makes the folders that lead to `at`, as far as they are the machine's: within a folder of the host's they are there or not.
fn make_place(at: &Path, source: Option<u64>) -> io::Result<()> {
    let mut so_far = PathBuf::from("/");
    for component in at.components().skip(1) {
        let above = fs::symlink_metadata(&so_far)?;
        so_far.push(component);
        match fs::symlink_metadata(&so_far) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && source != Some(above.dev()) => {
                fs::create_dir(&so_far)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
