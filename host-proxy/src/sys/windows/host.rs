//! What `doctor` wants to know of the host. Windows tells little of it to the standard library: the rest is `None`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A process that runs a program of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `LIGHTER_HOME` in its environment.
    pub home: Option<PathBuf>,
}

/// Not asked of Windows yet.
pub fn file_system(_path: &Path) -> Option<String> {
    None
}

/// Handles are plenty.
pub fn open_files() -> (Option<u64>, Option<u64>) {
    (None, None)
}

/// There is none.
pub fn inotify() -> Option<(u64, u64)> {
    None
}

/// There are none.
pub fn kernel_modules() -> BTreeSet<String> {
    BTreeSet::new()
}

/// This is Windows itself.
pub fn is_wsl() -> bool {
    false
}

/// A pipe exists for as long as somebody listens at it. Looked up in the list of pipes, because asking for one by its name
/// connects to it.
pub fn listens(path: &Path) -> io::Result<bool> {
    for pipe in fs::read_dir(r"\\.\pipe\")? {
        if Some(pipe?.file_name().as_os_str()) == path.file_name() {
            return Ok(true);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Not asked of Windows yet.
pub fn processes(_name: &str) -> Vec<Process> {
    Vec::new()
}

/// A program that runs cannot be replaced.
pub fn program_replaced(_pid: u32) -> Option<bool> {
    None
}

/// Not asked of Windows yet.
pub fn foreign_owner(_path: &Path) -> Option<u32> {
    None
}

/// As far as the read-only flag says.
pub fn may_write(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// Whether `path` is a file; its name says whether it is a program.
pub fn may_run(path: &Path) -> bool {
    path.is_file()
}

/// What a program's file is called.
pub fn program_file(name: &str) -> String {
    format!("{name}.exe")
}
