//! The tree that each server gives to the guest, as `lighter-meter files` expects it. Called by `servers`.

use std::fs::{create_dir_all, write};
use std::path::Path;

use anyhow::{Context, Result};
use lighter_meter::files::{BIG, FILES, FOLDERS, SET};

/// Makes it in `at`.
pub fn make(at: &Path, large: bool) -> Result<()> {
    plant(at, large).with_context(|| format!("make a tree of files in {}", at.display()))
}

fn plant(at: &Path, large: bool) -> std::io::Result<()> {
    for folder in 0..FOLDERS {
        let folder = at.join(format!("tree/folder{folder:03}"));
        create_dir_all(&folder)?;
        for file in 0..FILES {
            write(folder.join(format!("file{file:02}")), "content\n")?;
        }
    }
    create_dir_all(at.join("set"))?;
    for name in 0..SET {
        write(at.join(format!("set/name{name:04}")), "content\n")?;
    }
    create_dir_all(at.join("many"))?;
    for entry in 0..if large { 100_000 } else { 10_000 } {
        write(at.join(format!("many/entry{entry:06}")), "")?;
    }
    // No zeros: no file system is to find that there is nothing in it.
    write(at.join("big"), vec![b'b'; BIG as usize])
}
