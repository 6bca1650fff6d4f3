//! What is asked of the host's disk, apart so that tests can have one of their own, with another system's paths.

use std::io;
use std::path::{Path, PathBuf};

/// A disk with folders and links.
pub trait Disk {
    /// The path without links; fails if nothing is there.
    fn real(&self, path: &Path) -> io::Result<PathBuf>;
    /// Whether it is a folder.
    fn is_folder(&self, path: &Path) -> bool;
    /// Whether we may list it.
    fn is_ours_to_list(&self, path: &Path) -> bool;
}

/// That of this computer.
#[derive(Debug)]
pub struct ThisComputer;

impl Disk for ThisComputer {
    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_ours_to_list(&self, path: &Path) -> bool {
        std::fs::read_dir(path).is_ok()
    }
}
