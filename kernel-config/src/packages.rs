//! Which versions of Debian's packages an image is made of. They are looked up once and remembered in a file of the cache,
//! so that a second build asks no network and gives the same image; refreshing looks them up again. Called by the builder.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    apt::{Apt, Candidate},
    cache, debian, digest,
    error::BuildError,
    manifest::Package,
};

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    package: Package,
    file: String,
}

/// The resolved packages of a recipe.
#[derive(Debug)]
pub struct Packages {
    names: Vec<String>,
    memory: PathBuf,
    found: Vec<Candidate>,
}

impl Packages {
    /// What `builds` remembers of `names` for the Debian architecture; empty if nothing.
    pub fn remembered(builds: &Path, names: BTreeSet<&str>, architecture: &str) -> Self {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let key = digest::of_bytes(format!("{}\n{architecture}\n{}", debian::RELEASE, names.join("\n")).as_bytes());
        let memory = builds.join(format!("packages-{}.json", &key[..16]));
        // A memory that cannot be read is looked up again.
        let text = fs::read(&memory).unwrap_or_default();
        let found: Vec<Remembered> = serde_json::from_slice(&text).unwrap_or_default();
        let mut found: Vec<_> = found.into_iter().map(|r| Candidate { package: r.package, file: r.file }).collect();
        if !found.iter().map(|candidate| &candidate.package.name).eq(&names) {
            found.clear();
        }
        Self { names, memory, found }
    }

    /// Whether the versions are known.
    pub fn is_known(&self) -> bool {
        !self.found.is_empty()
    }

    /// Looks the newest versions up and remembers them.
    pub fn look_up(&mut self, apt: &Apt) -> Result<(), BuildError> {
        apt.update()?;
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        self.found = apt.resolve(&names)?;
        let all: Vec<_> =
            self.found.iter().map(|c| Remembered { package: c.package.clone(), file: c.file.clone() }).collect();
        let json = serde_json::to_vec_pretty(&all).expect("strings and integers always serialise");
        cache::replace_file(&self.memory, &json).map_err(BuildError::io("write", &self.memory))
    }

    /// All of them, ordered by name.
    pub fn all(&self) -> &[Candidate] {
        &self.found
    }

    /// Those with these names, in the order of `names`.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Candidate>, BuildError> {
        let find = |name: &'a str| {
            let found = self.found.iter().find(|candidate| candidate.package.name == name);
            found.cloned().ok_or_else(|| BuildError::NoPackage { name: name.to_owned() })
        };
        names.into_iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(builds: &Path, names: &[&str]) -> Packages {
        Packages::remembered(builds, names.iter().copied().collect(), "amd64")
    }

    #[test]
    fn what_was_looked_up_is_remembered_for_the_same_names_only() {
        let builds = tempfile::tempdir().unwrap();
        let mut packages = remember(builds.path(), &["b", "a"]);
        assert!(!packages.is_known());
        let text = r#"[{"package":{"name":"a","version":"1:2-3","architecture":"all","size":4,"sha256":"5"},"file":"f"},
            {"package":{"name":"b","version":"1","architecture":"amd64","size":1,"sha256":"6"},"file":"g"}]"#;
        fs::write(&packages.memory, text).unwrap();
        packages = remember(builds.path(), &["a", "b"]);
        assert!(packages.is_known());
        assert_eq!(packages.select(["b"]).unwrap()[0].file, "g");
        assert!(packages.select(["c"]).is_err());
        assert!(!remember(builds.path(), &["a"]).is_known());
        fs::write(&packages.memory, &text[..40]).unwrap();
        assert!(!remember(builds.path(), &["a", "b"]).is_known());
    }
}
