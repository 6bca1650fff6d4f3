//! What a package holds, as a list: paths with their content and mode, sorted, so that the same content makes the same package.
//! Every format lays the tree out in a folder and lets its own program pack that folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::process::hex;

/// The name of the list of sums inside a package, and of that of all packages.
pub const SUMS: &str = "SHA256SUMS";

/// What is in a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What that file holds.
    File(PathBuf),
}

/// Files by their paths, which have `/` between their parts and none in front.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, (u32, Content)>,
}

impl Tree {
    /// Adds a text or other bytes that anybody may read.
    pub fn text(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), (0o644, Content::Bytes(content.into())));
    }

    /// Adds a file that anybody may read.
    pub fn file(&mut self, path: impl Into<String>, from: &Path) {
        self.files.insert(path.into(), (0o644, Content::File(from.to_owned())));
    }

    /// Adds a program.
    pub fn program(&mut self, path: impl Into<String>, from: &Path) {
        self.files.insert(path.into(), (0o755, Content::File(from.to_owned())));
    }

    /// Adds all of `other` below `folder`.
    pub fn graft(&mut self, folder: &str, other: &Tree) {
        let moved = other.files.iter().map(|(path, file)| (format!("{folder}/{path}"), file.clone()));
        self.files.extend(moved);
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Adds, as `path`, the sums of all that is there by now, as `sha256sum -c` in the tree's top folder reads them.
    pub fn seal(&mut self, path: &str) -> Result<()> {
        let mut sums = String::new();
        for (name, (_, content)) in &self.files {
            let sum = match content {
                Content::Bytes(bytes) => hex(&Sha256::digest(bytes)),
                Content::File(from) => sha256(from)?,
            };
            sums += &format!("{sum}  {name}\n");
        }
        self.text(path, sums);
        Ok(())
    }

    /// Writes the tree into `folder`, which is emptied first; every file and folder of it gets the time `stamp`.
    pub fn lay(&self, folder: &Path, stamp: u64) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        let mut folders = vec![folder.to_owned()];
        for (path, (mode, content)) in &self.files {
            let target = folder.join(path);
            let parent = target.parent().context("a file has a folder")?;
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            let above = parent.ancestors().take_while(|above| *above != folder);
            folders.extend(above.map(Path::to_owned));
            match content {
                Content::Bytes(bytes) => fs::write(&target, bytes),
                Content::File(from) => fs::copy(from, &target).map(drop),
            }
            .with_context(|| format!("cannot write {}", target.display()))?;
            fs::set_permissions(&target, fs::Permissions::from_mode(*mode))?;
            date(&target, stamp)?;
        }
        folders.sort();
        folders.dedup();
        for each in folders.iter().rev() {
            // Whatever the umask of whoever packs.
            fs::set_permissions(each, fs::Permissions::from_mode(0o755))?;
            date(each, stamp)?;
        }
        Ok(())
    }
}

fn date(path: &Path, stamp: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(stamp);
    File::open(path).and_then(|file| file.set_modified(time)).with_context(|| format!("cannot date {}", path.display()))
}

/// SHA-256 of a file, hex.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    while let count @ 1.. = std::io::Read::read(&mut file, &mut buffer)? {
        hash.update(&buffer[..count]);
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_laid_out_with_its_sums_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "abc").unwrap();
        let (mut tree, mut inner) = (Tree::default(), Tree::default());
        inner.text("deep/b.txt", "b");
        tree.graft("a", &inner);
        tree.program("run", &program);
        tree.seal(SUMS).unwrap();
        assert_eq!(tree.paths().collect::<Vec<_>>(), [SUMS, "a/deep/b.txt", "run"]);
        let folder = dir.path().join("laid");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("left-over"), "").unwrap();
        tree.lay(&folder, 1_000_000_000).unwrap();
        let about = |path: &str| folder.join(path).metadata().unwrap();
        let stamp = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (path, mode) in [("run", 0o755), ("a/deep/b.txt", 0o644), ("a/deep", 0o755), ("a", 0o755)] {
            assert_eq!((about(path).permissions().mode() & 0o7777, about(path).modified().unwrap()), (mode, stamp));
        }
        assert!(!folder.join("left-over").exists());
        let sums = fs::read_to_string(folder.join(SUMS)).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(sums.contains(&format!("{abc}  run\n")), "{sums}");
    }
}
