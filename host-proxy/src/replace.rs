//! Replaces a file in one step, so that a crash or a full disk leaves the old one or the new one and never half of either.
//! Called by `settings` and `context`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::sys::files;

/// Makes `bytes` the content of the file at `path`, which gets the permissions of the file that was there, or is private
/// to its owner. A symbolic link stays one: the file that it leads to is replaced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let dir = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = dir.join(name);
    let written = write(&temporary, &target, bytes).and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    files::sync_dir(dir)
}

fn write(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    // One of a process that had our number and died is in nobody's way.
    let mut file = files::owner_only().create(true).truncate(true).write(true).open(temporary)?;
    file.write_all(bytes)?;
    if target.exists() {
        files::copy_mode(target, temporary)?;
    }
    file.sync_all()
}
