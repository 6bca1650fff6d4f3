//! The data disk: created sparse, grown, never shrunk, never emptied, and in one machine at a time. Called by `boot`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock;
use crate::settings::{GIB, Settings};
use crate::sys::files;

/// A disk in use is not to be moved below this much free space on the host, in bytes.
const LEAST_FREE: u64 = 256 << 20;

/// How long the threads of a machine that has just ended may still hold its disk.
const LETTING_GO: Duration = Duration::from_secs(3);

/// Why the data disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Cannot be opened or created.
    #[error("Cannot use the data disk {path}: see to its owner and its disk, or ask `lighter doctor`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a pipe, …
    #[error("The data disk {0} is not a regular file: move it away")]
    NotFile(PathBuf),
    /// Another machine has it.
    #[error("The data disk {0} is in use by another machine: stop that one first")]
    InUse(PathBuf),
    /// Smaller than it is.
    #[error(
        "The data disk {path} has {have:.1} GiB and a disk never shrinks, so it cannot get {wish:.1}: \
         start with `--disk {have:.1}`, or `lighter delete` the profile with all its data"
    )]
    Shrink {
        /// The file.
        path: PathBuf,
        /// Its size in GiB.
        have: f64,
        /// What was asked for, in GiB.
        wish: f64,
    },
    /// Nothing can be written.
    #[error("Only {free} MiB are free where the data disk {path} is: make room first")]
    Full {
        /// The file.
        path: PathBuf,
        /// In MiB.
        free: u64,
    },
}

/// The disk, opened for one machine.
#[derive(Debug)]
pub struct DataDisk {
    /// Open for reading and writing, and locked.
    pub file: File,
    /// Size in bytes.
    pub bytes: u64,
    /// It was created just now.
    pub fresh: bool,
    /// It holds not a single byte of data, as far as the host's file system can tell.
    pub blank: bool,
}

/// Opens, locks and if need be creates or grows the disk at `path` to `wish` bytes.
pub fn open(path: &Path, wish: Option<u64>) -> Result<DataDisk, DiskError> {
    let failed = |source| DiskError::Io { path: path.to_owned(), source };
    // Asked before it is opened: opening a named pipe would wait for its other end.
    let fresh = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(DiskError::NotFile(path.to_owned())),
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(error)),
    };
    let dir = path.parent().unwrap_or(path);
    if let Some(free) = files::free_space(dir).filter(|free| *free < LEAST_FREE) {
        return Err(DiskError::Full { path: path.to_owned(), free: free >> 20 });
    }
    let file = files::owner_only().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    if !lock::within(&file, LETTING_GO).map_err(failed)? {
        return Err(DiskError::InUse(path.to_owned()));
    }
    let have = file.metadata().map_err(failed)?.len();
    // An empty file is what an interrupted creation leaves.
    let bytes = match wish {
        Some(wish) => {
            refuse_shrink(path, wish)?;
            wish
        }
        None if have == 0 => Settings::NEW_DISK,
        None => have,
    };
    if bytes != have {
        // Where that is not to be had, what it costs is room.
        if let Err(error) = files::make_sparse(&file) {
            tracing::warn!(%error, path = %path.display(), "The data disk takes its whole size on this computer's disk");
        }
        file.set_len(bytes).and_then(|()| file.sync_all()).and_then(|()| files::sync_dir(dir)).map_err(failed)?;
    }
    let blank = have == 0 || files::is_hole(&file);
    Ok(DataDisk { file, bytes, fresh: have == 0 && fresh, blank })
}

/// An error if the disk at `path` is larger than `wish` bytes.
pub fn refuse_shrink(path: &Path, wish: u64) -> Result<(), DiskError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && wish < metadata.len() => {
            let [have, wish] = [metadata.len(), wish].map(|bytes| bytes as f64 / GIB as f64);
            Err(DiskError::Shrink { path: path.to_owned(), have, wish })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.img");
        (dir, path)
    }

    #[test]
    fn c4_a_new_disk_is_sparse() {
        let (_dir, path) = place();
        let disk = open(&path, Some(3 * GIB)).unwrap();
        assert!(disk.fresh && disk.blank);
        let metadata = disk.file.metadata().unwrap();
        assert_eq!(metadata.len(), 3 * GIB);
        assert!(files::allocated(&path).unwrap() < 1 << 20, "nothing is allocated before it is written");
        drop(disk);
        let again = open(&path, None).unwrap();
        assert!(!again.fresh);
        assert_eq!(again.bytes, 3 * GIB);
    }

    #[test]
    fn c4_a_disk_that_nobody_has_written_to_is_known_to_be_blank() {
        let (_dir, path) = place();
        drop(open(&path, Some(3 * GIB)).unwrap());
        assert!(open(&path, None).unwrap().blank);
        let grown = open(&path, Some(4 * GIB)).unwrap();
        assert!(grown.blank && !grown.fresh);
    }

    #[test]
    fn c4_one_byte_anywhere_makes_a_disk_not_blank_and_it_survives_growing() {
        let (_dir, path) = place();
        let mut disk = open(&path, Some(GIB)).unwrap();
        disk.file.seek(SeekFrom::Start(GIB - 1)).unwrap();
        disk.file.write_all(b"!").unwrap();
        drop(disk);
        let mut grown = open(&path, Some(2 * GIB)).unwrap();
        assert!(!grown.blank && !grown.fresh);
        assert_eq!(grown.bytes, 2 * GIB);
        let mut byte = [0];
        grown.file.seek(SeekFrom::Start(GIB - 1)).unwrap();
        grown.file.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"!");
    }

    #[test]
    fn c2_shrinking_is_refused_and_changes_nothing() {
        let (_dir, path) = place();
        drop(open(&path, Some(2 * GIB)).unwrap());
        let message = open(&path, Some(GIB)).unwrap_err().to_string();
        assert!(message.contains("2.0 GiB and a disk never shrinks"), "{message}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * GIB);
    }

    #[test]
    fn c4_a_disk_is_in_one_machine_at_a_time() {
        let (_dir, path) = place();
        let _first = open(&path, Some(GIB)).unwrap();
        assert!(matches!(open(&path, None), Err(DiskError::InUse(_))));
    }

    #[test]
    fn c3_a_directory_in_place_of_the_disk_is_refused() {
        let (dir, _) = place();
        assert!(matches!(open(dir.path(), None), Err(DiskError::NotFile(_))));
    }
}
