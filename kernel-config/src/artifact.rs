//! Results of long steps, kept by the hash of all that went into them: `builds/kernel-KEY/`, `builds/root-KEY/` and, for benches,
//! `builds/bench-kernel-KEY/`. A result is made in a directory of its own and renamed when it is whole, so an interrupted build
//! leaves nothing that the next one could take for finished. Called by the builder, which holds the lock on the cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{cache, digest, error::BuildError};

const RECORD: &str = "record.json";
/// Names of unfinished directories begin so; see [`sweep`].
pub const UNFINISHED: &str = "tmp-";

/// A kept file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    size: u64,
    sha256: String,
}

/// One result of a step: which step, from what, as which file.
#[derive(Debug)]
pub struct Slot {
    builds: PathBuf,
    kind: &'static str,
    key: String,
    file: &'static str,
}

impl Slot {
    /// The place of `file`, made by the step `kind` from `inputs`.
    pub fn new(builds: &Path, kind: &'static str, inputs: &[&str], file: &'static str) -> Self {
        let mut key = digest::of_bytes(inputs.join("\0").as_bytes());
        key.truncate(16);
        Self { builds: builds.to_owned(), kind, key, file }
    }

    fn dir(&self) -> PathBuf {
        self.builds.join(format!("{}-{}", self.kind, self.key))
    }

    /// The kept file, if it is there with its recorded size. Its content is compared when an image is made of it.
    pub fn kept(&self) -> Option<Artifact> {
        let record: Record = serde_json::from_slice(&fs::read(self.dir().join(RECORD)).ok()?).ok()?;
        let path = self.dir().join(self.file);
        let about = fs::metadata(&path).ok()?;
        let sound = about.is_file() && about.len() == record.size;
        sound.then_some(Artifact { path, size: record.size, sha256: record.sha256 })
    }

    /// Makes the file anew. `make` gets an empty directory to work in and one for the result.
    pub fn make(&self, make: impl FnOnce(&Path, &Path) -> Result<(), BuildError>) -> Result<Artifact, BuildError> {
        let unfinished = self.builds.join(format!("{UNFINISHED}{}-{}", self.kind, self.key));
        let (work, out) = (unfinished.join("work"), unfinished.join("out"));
        remove(&unfinished)?;
        for dir in [&work, &out] {
            fs::create_dir_all(dir).map_err(BuildError::io("create", dir))?;
        }
        make(&work, &out)?;
        let file = out.join(self.file);
        let (sha256, size) = digest::of_file(&file).map_err(BuildError::io("read", &file))?;
        let record =
            serde_json::to_vec(&Record { size, sha256: sha256.clone() }).expect("plain fields always serialise");
        let record_file = out.join(RECORD);
        cache::replace_file(&record_file, &record).map_err(BuildError::io("write", &record_file))?;
        self.forget()?;
        fs::rename(&out, self.dir()).map_err(BuildError::io("create", self.dir()))?;
        remove(&unfinished)?;
        cache::prune(&self.builds, &format!("{}-", self.kind), 1, &self.dir())
            .map_err(BuildError::io("tidy up", &self.builds))?;
        Ok(Artifact { path: self.dir().join(self.file), size, sha256 })
    }

    /// Removes what is kept, so that the next build makes it anew.
    pub fn forget(&self) -> Result<(), BuildError> {
        remove(&self.dir())
    }
}

/// Removes what interrupted builds left in `dir`.
pub fn sweep(dir: &Path) -> Result<(), BuildError> {
    for entry in fs::read_dir(dir).map_err(BuildError::io("read", dir))? {
        let entry = entry.map_err(BuildError::io("read", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(UNFINISHED) {
            remove(&entry.path())?;
        } else if name.contains(".tmp") {
            fs::remove_file(entry.path()).map_err(BuildError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Removes a directory that may not be there.
pub fn remove(dir: &Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BuildError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(slot: &Slot, content: &str) -> Result<Artifact, BuildError> {
        slot.make(|_, out| fs::write(out.join("file"), content).map_err(BuildError::io("write", out)))
    }

    #[test]
    fn result_is_kept_for_the_same_inputs_only() {
        let builds = tempfile::tempdir().unwrap();
        let slot = |inputs: &[&str]| Slot::new(builds.path(), "kernel", inputs, "file");
        let made = make(&slot(&["a", "b"]), "content").unwrap();
        assert_eq!(slot(&["a", "b"]).kept(), Some(made));
        assert_eq!(slot(&["a", "c"]).kept(), None);
        assert_eq!(slot(&["ab"]).kept(), None);
    }

    #[test]
    fn interrupted_step_leaves_nothing_that_counts() {
        let builds = tempfile::tempdir().unwrap();
        let slot = Slot::new(builds.path(), "root", &["a"], "file");
        let stopped = slot.make(|_, out| {
            fs::write(out.join("file"), "half").unwrap();
            Err(BuildError::NoPackage { name: "x".into() })
        });
        assert!(stopped.is_err() && slot.kept().is_none());
        sweep(builds.path()).unwrap();
        assert_eq!(fs::read_dir(builds.path()).unwrap().count(), 0);
    }

    #[test]
    fn truncated_result_does_not_count() {
        let builds = tempfile::tempdir().unwrap();
        let slot = Slot::new(builds.path(), "root", &["a"], "file");
        let made = make(&slot, "content").unwrap();
        fs::write(&made.path, "conten").unwrap();
        assert_eq!(slot.kept(), None);
        assert_eq!(make(&slot, "again").unwrap().size, 5);
    }
}
