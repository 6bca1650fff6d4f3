//! Folders to archives, the same bytes each time. By GNU tar, gzip and Info-ZIP, which every Debian has or can install, rather than by crates: the
//! packages are made on Debian anyway (dpkg-deb has no other home), and what people unpack them with is what packed them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::tree::Tree;
use crate::packages::{self, Package};
use crate::process::Run;

const ZIP: &[Package] = &[Package { name: "zip", probe: "zip" }];

/// Packing 200 MB takes half a minute; more on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Packs the folder `name` in `stage`, which holds `tree`, as `<name>.tar.gz` in `out`.
pub fn tar_gz(stage: &Path, name: &str, stamp: u64, out: &Path) -> Result<PathBuf> {
    let archive = fresh(out, &format!("{name}.tar.gz"))?;
    Run::new("tar")
        .args(["--create", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        // gzip writes neither name nor time of its input with -n.
        .args([&format!("--mtime=@{stamp}"), "--use-compress-program=gzip -n"])
        .args(["--file".as_ref(), archive.as_os_str(), "--directory".as_ref(), stage.as_os_str(), name.as_ref()])
        .within(PATIENCE)
        .ok()?;
    Ok(archive)
}

/// Packs the folder `name` in `stage`, which holds `tree`, as `<name>.zip` in `out`.
pub fn zip(stage: &Path, name: &str, tree: &Tree, out: &Path) -> Result<PathBuf> {
    packages::ensure(ZIP)?;
    let archive = fresh(out, &format!("{name}.zip"))?;
    let list: String = tree.paths().map(|path| format!("{name}/{path}\n")).collect();
    Run::new("zip")
        // -X leaves out owners and the finer times, -D entries for folders; the list has the order.
        .args(["-q".as_ref(), "-X".as_ref(), "-D".as_ref(), archive.as_os_str(), "-@".as_ref()])
        // A zip holds local times.
        .env("TZ", "UTC")
        .dir(stage)
        .stdin(std::io::Cursor::new(list))
        .within(PATIENCE)
        .ok()?;
    Ok(archive)
}

/// The path of a file in `out` that is to be made; an old one goes away, because zip would add to it.
pub fn fresh(out: &Path, file: &str) -> Result<PathBuf> {
    let path = out.join(file);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_makes_the_same_archives() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.text("b/late.txt", "late");
        tree.text("a.txt", "early");
        let pack = |round: &str| {
            let (stage, out) = (dir.path().join(round), dir.path().join(format!("{round}-out")));
            std::fs::create_dir_all(&out).unwrap();
            tree.lay(&stage.join("x-1"), 1_000_000_000).unwrap();
            let mut packed = vec![std::fs::read(tar_gz(&stage, "x-1", 1_000_000_000, &out).unwrap()).unwrap()];
            if packages::there("zip") {
                // Packed twice: the second does not go into the first.
                zip(&stage, "x-1", &tree, &out).unwrap();
                packed.push(std::fs::read(zip(&stage, "x-1", &tree, &out).unwrap()).unwrap());
            }
            packed
        };
        assert!(pack("one") == pack("two"));
    }
}
