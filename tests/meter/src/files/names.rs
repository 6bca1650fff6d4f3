//! Work on names and attributes.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{FILES, FOLDERS, NEW_FILES, NEW_FOLDERS, SET};

/// As `git status` does: each file of the index in its order, then the list of each folder.
pub fn status(folder: &Path) -> io::Result<()> {
    let tree = folder.join("tree");
    for at in 0..FOLDERS {
        let folder = tree.join(format!("folder{at:03}"));
        for file in 0..FILES {
            fs::symlink_metadata(folder.join(format!("file{file:02}")))?;
        }
    }
    for at in 0..FOLDERS {
        let seen = fs::read_dir(tree.join(format!("folder{at:03}")))?.count();
        expect(seen, FILES)?;
    }
    Ok(())
}

/// As `npm install` does: many small new files, some of them made executable.
pub fn install(folder: &Path) -> io::Result<()> {
    let new = folder.join("installed");
    fs::create_dir(&new)?;
    let content = vec![b'x'; 8 << 10];
    for at in 0..NEW_FOLDERS {
        let package = new.join(format!("package{at:03}"));
        fs::create_dir(&package)?;
        for file in 0..NEW_FILES / NEW_FOLDERS {
            let path = package.join(format!("module{file:02}.js"));
            let mut made = OpenOptions::new().write(true).create_new(true).open(&path)?;
            made.write_all(&content[..1024 * (1 + (at + file) % 8)])?;
            drop(made);
            if file == 0 {
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(())
}

/// Names that are there.
pub fn stats(folder: &Path) -> io::Result<()> {
    let set = folder.join("set");
    (0..SET).try_for_each(|at| fs::symlink_metadata(set.join(format!("name{at:04}"))).map(drop))
}

/// Names that are not.
pub fn absent(folder: &Path) -> io::Result<()> {
    let set = folder.join("set");
    for at in 0..SET {
        match fs::symlink_metadata(set.join(format!("absent{at:04}"))) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return Err(io::Error::other(format!("what is not there: {other:?}"))),
        }
    }
    Ok(())
}

/// All entries of a folder, whose name says nothing of how many there are.
pub fn list(folder: &Path) -> io::Result<()> {
    let seen = fs::read_dir(folder)?.try_fold(0, |seen, entry| entry.map(|_| seen + 1))?;
    if seen >= 10_000 { Ok(()) } else { Err(io::Error::other(format!("{seen} entries"))) }
}

fn expect(seen: usize, there: usize) -> io::Result<()> {
    if seen == there { Ok(()) } else { Err(io::Error::other(format!("{seen} entries instead of {there}"))) }
}
