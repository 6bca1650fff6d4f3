//! The crates that are linked into a program of ours, and their licences: cargo says which they are, and each brought the texts.
//! Build scripts, macros' own crates and tests are not in a program, so they are not in the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Run;
use crate::products::{cargo, root};

/// Licences that ask for no more than that their text and the copyright come along, and so may be in a program of ours.
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LLVM-exception",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// How the files begin that hold a licence or who has the copyright.
const TEXTS: [&str; 7] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "PATENTS"];

/// A crate, and what its author says of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// The crates in the program of `package` for `target`, this repository's own left out.
pub fn of(package: &str, target: &str) -> Result<BTreeSet<Crate>> {
    let words = ["tree", "--locked", "-p", package, "--target", target, "-e", "normal,no-proc-macro"];
    let listed = cargo(words).args(["--prefix", "none", "-f", "{p}|{l}"]).ok()?.text();
    let found: BTreeSet<Crate> = listed.lines().filter_map(parse).collect::<Result<_>>()?;
    for each in &found {
        let words = each.licence.split([' ', '/', '(', ')']).filter(|word| !word.is_empty());
        let odd = words.filter(|word| !["AND", "OR", "WITH"].contains(word)).find(|word| !PERMISSIVE.contains(word));
        if let Some(odd) = odd {
            bail!("{} {} has the licence {odd}: see what it asks for before it is packed", each.name, each.version);
        }
    }
    Ok(found)
}

/// A line of `cargo tree`; none for a crate that lies in this repository, which has a path behind its version.
fn parse(line: &str) -> Option<Result<Crate>> {
    let line = line.trim_end_matches(" (*)");
    let (what, licence) = line.split_once('|')?;
    let mut words = what.split(' ');
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    if words.next().is_some() {
        return None;
    }
    if licence.is_empty() {
        return Some(Err(anyhow::anyhow!("{what} names no licence")));
    }
    Some(Ok(Crate { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() }))
}

/// A page with the table of `crates`, and then every text that they brought, each once.
pub fn page(about: &str, crates: &BTreeSet<Crate>) -> Result<String> {
    let sources = sources()?;
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut page = format!("{about}\n\n{:<28} {:<24} {}\n", "crate", "version", "licence");
    for each in crates {
        page += &format!("{:<28} {:<24} {}\n", each.name, each.version, each.licence);
        let key = (each.name.clone(), each.version.clone());
        let folder = sources.get(&key).with_context(|| format!("cargo knows no source of {}", each.name))?;
        for file in texts_in(folder)? {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = text.replace("\r\n", "\n").trim().to_owned();
            texts.entry(text).or_default().insert(format!("{} {}", each.name, each.version));
        }
    }
    let without: Vec<_> = crates.iter().map(|each| format!("{} {}", each.name, each.version)).collect();
    let without: Vec<_> =
        without.into_iter().filter(|name| !texts.values().any(|names| names.contains(name))).collect();
    if !without.is_empty() {
        page += &format!("\nWithout a text of their own, under the licence in the table: {}.\n", without.join(", "));
    }
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        page += &format!("\n{}\n{}\n\n{text}\n", "=".repeat(78), names.join(", "));
    }
    Ok(page)
}

/// Where the sources of all crates of the workspace are, by name and version.
fn sources() -> Result<BTreeMap<(String, String), PathBuf>> {
    let metadata = cargo(["metadata", "--format-version", "1", "--locked"]).ok()?;
    ensure!(metadata.stdout_bytes == metadata.stdout.len() as u64, "cargo metadata says more than is read of it");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let place = |package: &serde_json::Value| {
        let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
        Some(((package["name"].as_str()?.to_owned(), package["version"].as_str()?.to_owned()), folder))
    };
    Ok(packages.iter().filter_map(place).collect())
}

fn texts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if TEXTS.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// What Rust's own library in the same program asks to be told; the compiler brings it.
pub fn standard_library() -> Result<PathBuf> {
    let sysroot = Run::new("rustc").args(["--print", "sysroot"]).dir(root()).ok()?.text();
    let path = Path::new(&sysroot).join("share/doc/rust/COPYRIGHT-library.html");
    ensure!(path.is_file(), "{} is missing: install the toolchain's rustc again by rustup", path.display());
    Ok(path)
}

/// The same of the C library that a program for `triple` has in it, if it has one: a file's name and the file, which is Debian's.
pub fn c_library(cache: &Path, triple: &str) -> Result<Option<(&'static str, PathBuf)>> {
    let (name, path) = if triple.ends_with("musl") {
        ("MUSL.txt", lighter_image::tools::unpacked(cache, "musl")?.join("usr/share/doc/musl/copyright"))
    } else if triple.ends_with("windows-gnu") {
        ("MINGW.txt", PathBuf::from("/usr/share/doc/mingw-w64-x86-64-dev/copyright"))
    } else {
        return Ok(None);
    };
    ensure!(path.is_file(), "{} is missing: install its package again", path.display());
    Ok(Some((name, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_a_crate_unless_it_is_ours() {
        let known = parse("toml v1.2.1+spec-1.1.0|MIT OR Apache-2.0 (*)").unwrap().unwrap();
        assert_eq!((known.name.as_str(), known.version.as_str()), ("toml", "1.2.1+spec-1.1.0"));
        assert_eq!(known.licence, "MIT OR Apache-2.0");
        assert!(parse("lighter v0.1.0 (/x/host-proxy)|Apache-2.0").is_none());
        assert!(parse("odd v1.0.0|").unwrap().is_err());
        assert!(parse("").is_none());
    }
}
