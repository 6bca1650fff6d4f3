//! The last lines that the guest's kernel printed, for messages about a guest that died. Called by `lifecycle`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::plain;

/// How far back the log is read, in bytes.
const WINDOW: u64 = 16 * 1024;
/// How many lines are shown.
const LINES: usize = 12;

/// A place in the console log.
#[derive(Debug)]
pub struct ConsoleTail {
    path: PathBuf,
    start: u64,
}

impl ConsoleTail {
    /// Only what will be printed from now on.
    pub fn from_here(path: &Path) -> ConsoleTail {
        let start = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        ConsoleTail { path: path.to_owned(), start }
    }

    /// Everything.
    pub fn whole(path: &Path) -> ConsoleTail {
        ConsoleTail { path: path.to_owned(), start: 0 }
    }

    /// The last lines, made harmless.
    pub fn last(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            let end = file.metadata()?.len();
            // A shorter file than before is a new one.
            let start = if end < self.start { 0 } else { self.start };
            file.seek(SeekFrom::Start(start.max(end.saturating_sub(WINDOW))))?;
            file.take(WINDOW).read_to_end(&mut bytes)
        });
        match read {
            Ok(_) if !bytes.is_empty() => plain::last_lines(&bytes, LINES),
            _ => "(it printed nothing)".to_owned(),
        }
    }
}
