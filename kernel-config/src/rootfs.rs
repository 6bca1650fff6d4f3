//! The guest's root: takes from the packages what the recipe wants, adds the shared libraries that those programs need, and
//! packs skeleton and files into an erofs image. No file of it ever lies on the host's disk, so neither the host's umask
//! nor the builder's user can show in it. Called by the builder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    architecture::Architecture,
    archive::{self, Entry, Kind},
    command, elf, erofs,
    error::BuildError,
    recipe::{self, Wanted},
    unexport,
};

const CURE: &str = "Remove the download and build again";

/// One package of the recipe and its downloaded file.
#[derive(Debug)]
pub struct Source<'a> {
    /// What is wanted of it.
    pub wanted: &'a Wanted,
    /// The `.deb`.
    pub deb: PathBuf,
}

/// Builds the root from `sources` and the demo image into the file `out`. `work` is an empty directory.
pub fn build(
    architecture: &Architecture,
    sources: &[Source<'_>],
    demo: Vec<u8>,
    work: &Path,
    out: &Path,
) -> Result<(), BuildError> {
    let mut root = Root { architecture, entries: BTreeMap::new(), libraries: BTreeMap::new() };
    for entry in recipe::layout()? {
        root.entries.insert(entry.path.clone(), entry);
    }
    for source in sources.iter().filter(|source| !source.wanted.tool) {
        root.take(source)?;
    }
    root.take_libraries()?;
    root.put("usr/share/lighter/demo.tar", 0o644, demo);
    let malformed =
        || BuildError::Malformed { name: "the root".to_owned(), problem: "a path is too long for its archive" };
    let tar = work.join("root.tar");
    fs::write(&tar, archive::write(&root.finish()).ok_or_else(malformed)?).map_err(BuildError::io("write", &tar))?;
    let tools: Vec<_> = sources.iter().filter(|source| source.wanted.tool).map(|source| source.deb.as_path()).collect();
    erofs::pack(architecture, &tools, &tar, work, out)
}

struct Root<'a> {
    architecture: &'a Architecture,
    entries: BTreeMap<String, Entry>,
    /// Libraries on offer, by the name that programs ask for.
    libraries: BTreeMap<String, Vec<u8>>,
}

impl Root<'_> {
    fn put(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.entries.insert(path.to_owned(), Entry { path: path.to_owned(), mode, kind: Kind::File(content) });
    }

    fn take(&mut self, source: &Source<'_>) -> Result<(), BuildError> {
        let found = contents(&source.deb)?;
        for (pattern, name) in &source.wanted.files {
            let mut any = false;
            for entry in found.values().filter(|entry| recipe::matches(pattern, &entry.path)) {
                if let Some((mode, content)) = resolve(&found, &entry.path) {
                    let content = unexport::without_exports(&content).unwrap_or(content);
                    self.put(name.as_deref().unwrap_or(&entry.path), mode, content);
                    any = true;
                }
            }
            if !any {
                let (package, pattern) = (source.wanted.package.clone(), pattern.clone());
                return Err(BuildError::NotInPackage { package, pattern });
            }
        }
        if source.wanted.certificates {
            let all =
                found.values().filter(|entry| recipe::matches("usr/share/ca-certificates/mozilla/*.crt", &entry.path));
            let bundle: Vec<u8> =
                all.filter_map(|entry| resolve(&found, &entry.path)).flat_map(|(_, text)| text).collect();
            self.put("etc/ssl/certs/ca-certificates.crt", 0o644, bundle);
        }
        if source.wanted.libraries {
            let pattern = format!("usr/lib/{}/*.so*", self.architecture.triplet);
            for path in found.keys().filter(|path| recipe::matches(&pattern, path)) {
                if let (Some((_, content)), Some((_, name))) = (resolve(&found, path), path.rsplit_once('/')) {
                    self.libraries.insert(name.to_owned(), content);
                }
            }
        }
        Ok(())
    }

    /// Adds the libraries that programs, and their libraries, name as needed; and the loader that finds them.
    fn take_libraries(&mut self) -> Result<(), BuildError> {
        let mut asked: Vec<(String, String)> = Vec::new();
        for entry in self.entries.values() {
            asked.extend(needs(entry).into_iter().map(|soname| (entry.path.clone(), soname)));
        }
        let mut taken = BTreeSet::new();
        while let Some((needed_by, soname)) = asked.pop() {
            if !taken.insert(soname.clone()) {
                continue;
            }
            let Some(content) = self.libraries.get(&soname).cloned() else {
                return Err(BuildError::NoLibrary { needed_by, soname });
            };
            let entry = Entry {
                path: format!("usr/lib/{}/{soname}", self.architecture.triplet),
                mode: 0o755,
                kind: Kind::File(content),
            };
            asked.extend(needs(&entry).into_iter().map(|next| (entry.path.clone(), next)));
            self.entries.insert(entry.path.clone(), entry);
        }
        let Some((_, loader)) = self.architecture.loader.rsplit_once('/') else { return Ok(()) };
        let target = format!("/usr/lib/{}/{loader}", self.architecture.triplet);
        let path = self.architecture.loader.to_owned();
        let content = self.libraries.get(loader).cloned();
        let content = content
            .ok_or_else(|| BuildError::NoLibrary { needed_by: "every program".into(), soname: loader.into() })?;
        self.put(target.trim_start_matches('/'), 0o755, content);
        self.entries.insert(path.clone(), Entry { path, mode: 0o777, kind: Kind::Link(target) });
        Ok(())
    }

    /// All entries with their parent directories, parents first.
    fn finish(mut self) -> Vec<Entry> {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        for path in paths {
            let mut parent = path.as_str();
            while let Some((head, _)) = parent.rsplit_once('/') {
                let directory = || Entry { path: head.to_owned(), mode: 0o755, kind: Kind::Directory };
                self.entries.entry(head.to_owned()).or_insert_with(directory);
                parent = head;
            }
        }
        self.entries.into_values().collect()
    }
}

fn needs(entry: &Entry) -> Vec<String> {
    match &entry.kind {
        Kind::File(content) => elf::read(content).map(|elf| elf.needed).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// What a package installs, by path.
fn contents(deb: &Path) -> Result<BTreeMap<String, Entry>, BuildError> {
    let tar = command::output(command::command("dpkg-deb").arg("--fsys-tarfile").arg(deb), CURE)?;
    let malformed = || BuildError::Malformed { name: deb.display().to_string(), problem: "its archive ends too early" };
    let entries = archive::read(&tar).ok_or_else(malformed)?;
    Ok(entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect())
}

/// The file at `path`, through symbolic links within the same package.
fn resolve(found: &BTreeMap<String, Entry>, path: &str) -> Option<(u32, Vec<u8>)> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        match &found.get(&path)?.kind {
            Kind::File(content) => return Some((found.get(&path)?.mode, content.clone())),
            Kind::Directory => return None,
            Kind::Link(target) => path = follow(&path, target),
        }
    }
    None
}

fn follow(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { link.split('/').collect() };
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::X86_64;

    fn file(path: &str, content: &[u8]) -> Entry {
        Entry { path: path.into(), mode: 0o755, kind: Kind::File(content.to_vec()) }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry { path: path.into(), mode: 0o777, kind: Kind::Link(target.into()) }
    }

    #[test]
    fn links_within_a_package_are_followed_and_loops_end() {
        let all = [
            file("usr/lib/a.so.1.2", b"x"),
            link("usr/lib/a.so.1", "a.so.1.2"),
            link("lib64/a", "../usr/lib/./a.so.1"),
            link("abs", "/usr/lib/a.so.1"),
            link("loop", "loop"),
            link("gone", "nowhere"),
        ];
        let found: BTreeMap<_, _> = all.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        for path in ["usr/lib/a.so.1", "lib64/a", "abs"] {
            assert_eq!(resolve(&found, path), Some((0o755, b"x".to_vec())), "{path}");
        }
        assert_eq!(resolve(&found, "loop"), None);
        assert_eq!(resolve(&found, "gone"), None);
    }

    #[test]
    fn a_library_that_nobody_offers_is_named_with_who_needs_it() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let entries = BTreeMap::from([("usr/bin/p".to_owned(), file("usr/bin/p", &program))]);
        let mut root = Root { architecture: &X86_64, entries, libraries: BTreeMap::new() };
        let error = root.take_libraries().unwrap_err().to_string();
        // Which library comes first is the linker's choice.
        assert!(error.starts_with("usr/bin/p needs l") && error.contains("packages.list"), "{error}");
    }

    #[test]
    fn parents_come_before_their_children() {
        let entries = BTreeMap::from([("a/b/c".to_owned(), file("a/b/c", b""))]);
        let root = Root { architecture: &X86_64, entries, libraries: BTreeMap::new() };
        let paths: Vec<_> = root.finish().into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c"]);
    }
}
