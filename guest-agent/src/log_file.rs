//! A log file of bounded size: at [`LIMIT`] it becomes `NAME.1` and a new one begins, so at most twice as much is kept.
//! Called by `log` and `engine::supervise`; followed by `control::logs`.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of one file. The files lie in the guest's memory.
pub const LIMIT: u64 = 1 << 20;

/// An open log.
pub struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    /// Goes on with the log at `path`; its folder must exist.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length })
    }

    /// Adds bytes. A log that cannot be written is no reason to stop what it tells about, so failures are dropped.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.length > 0 && self.length.saturating_add(bytes.len() as u64) > LIMIT {
            let _still_the_old_file = self.turn();
        }
        if self.file.write_all(bytes).is_ok() {
            self.length = self.length.saturating_add(bytes.len() as u64);
        }
    }

    /// Begins a new file. Without one the old is cut to nothing: bounded is more important than complete.
    fn turn(&mut self) -> io::Result<()> {
        self.length = 0;
        match rename(&self.path, older(&self.path))
            .and_then(|()| OpenOptions::new().create(true).append(true).open(&self.path))
        {
            Ok(file) => self.file = file,
            Err(_) => self.file.set_len(0)?,
        }
        Ok(())
    }
}

/// Where the older half of the log at `path` is.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}
