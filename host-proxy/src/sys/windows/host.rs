//! What `doctor` wants to know of the host. Windows tells little of it to the standard library: the rest is `None`.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::ERROR_SEM_TIMEOUT;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_WRITE_DATA};
use windows_sys::Win32::System::Pipes::WaitNamedPipeW;

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

/// A pipe exists for as long as somebody listens at it. It is waited for, as briefly as can be: to look at it would connect.
pub fn listens(path: &Path) -> io::Result<bool> {
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: the name ends with a zero.
    if unsafe { WaitNamedPipeW(name.as_ptr(), 1) } != 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        // It has no room for a client just now.
        error if error.raw_os_error() == i32::try_from(ERROR_SEM_TIMEOUT).ok() => Ok(true),
        error => Err(error),
    }
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

/// Whether this user may write to `path`. Opened for it and for nothing else, beside whoever has it open.
pub fn may_write(path: &Path) -> bool {
    // The same bit is the right to make files in a directory, which only backup semantics open.
    OpenOptions::new().access_mode(FILE_WRITE_DATA).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path).is_ok()
}

/// Whether `path` is a file; its name says whether it is a program.
pub fn may_run(path: &Path) -> bool {
    path.is_file()
}

/// What a program's file is called.
pub fn program_file(name: &str) -> String {
    format!("{name}.exe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_is_asked_without_writing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(may_write(dir.path()) && may_write(&file));
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(!may_write(&dir.path().join("none")));
    }
}
