//! What the guest image asks of whoever passes it on: which Debian packages are in it, their copyright files, the licences that
//! those refer to, and from which source packages they were built. All of it comes from the packages themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lighter_image::manifest::{Manifest, Package};
use lighter_image::{debs, tools};

use super::tree::{Tree, sha256};
use crate::process::Run;

/// Where Debian keeps the licences that many of its packages share, on every Debian and Ubuntu.
const SHARED: &str = "/usr/share/common-licenses/";

/// A package of the image, and where it comes from.
struct Origin {
    package: Package,
    /// Name and version of its source.
    source: (String, String),
    /// Sources of what is linked into its programs, as Debian writes them.
    inside: BTreeSet<String>,
}

/// The licences of the guest image that `manifest` describes.
pub fn licences(cache: &Path, manifest: &Manifest) -> Result<Tree> {
    let mut tree = Tree::default();
    let unpacked = tempfile::tempdir()?;
    let (mut origins, mut shared) = (Vec::new(), BTreeSet::new());
    for (package, deb) in manifest.packages.iter().zip(debs::of_image(cache, manifest)?) {
        let script = "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" ./usr/share/doc";
        Run::new("sh")
            .args(["-ec", script, "sh"])
            .args([deb.as_path(), unpacked.path()])
            .within(Duration::from_secs(300))
            .ok()?;
        origins.push(origin(package, &deb)?);
    }
    for Origin { package, .. } in &origins {
        let text = fs::read(copyright(cache, &unpacked.path().join("usr/share/doc"), &package.name)?)?;
        shared.extend(mentioned(&String::from_utf8_lossy(&text)));
        tree.text(format!("debian/{}.copyright", package.name), text);
    }
    for name in shared.iter().filter(|name| Path::new(SHARED).join(name).is_file()) {
        tree.text(format!("common-licenses/{name}"), fs::read(Path::new(SHARED).join(name))?);
    }
    if let Some(config) = kernel_configuration(cache, manifest)? {
        tree.file("kernel.config", &config);
    }
    tree.text("GUEST.txt", page(manifest, &origins));
    Ok(tree)
}

fn origin(package: &Package, deb: &Path) -> Result<Origin> {
    let field = |name: &str| {
        anyhow::Ok(Run::new("dpkg-deb").args(["-f".as_ref(), deb.as_os_str(), name.as_ref()]).ok()?.text())
    };
    let said: String = field("Source").context("what a package's source is")?;
    let source = match said.split_once(" (") {
        Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
        None if said.is_empty() => (package.name.clone(), package.version.clone()),
        None => (said, package.version.clone()),
    };
    let mut inside = BTreeSet::new();
    for name in ["Built-Using", "Static-Built-Using"] {
        let list: String = field(name)?;
        inside.extend(list.split(',').map(|word| word.trim().replace("(= ", "").replace(')', "")));
    }
    inside.remove("");
    Ok(Origin { package: package.clone(), source, inside })
}

/// The copyright file of `name`, which may have it in common with another package.
fn copyright(cache: &Path, docs: &Path, name: &str) -> Result<PathBuf> {
    let folder = docs.join(name);
    if let Ok(other) = fs::read_link(&folder)
        && !folder.exists()
    {
        let other = other.file_name().and_then(|name| name.to_str()).context("a link to another package's papers")?;
        let path = tools::unpacked(cache, other)?.join("usr/share/doc").join(other).join("copyright");
        ensure!(path.is_file(), "Debian's package {other} has no copyright file");
        return Ok(path);
    }
    let path = folder.join("copyright");
    ensure!(path.is_file(), "Debian's package {name} has no copyright file");
    Ok(path)
}

/// The licences that a copyright file refers to.
fn mentioned(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches('.').to_owned()
    };
    text.split(SHARED).skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

/// The configuration that this image's kernel was built with, if the cache still has it.
fn kernel_configuration(cache: &Path, manifest: &Manifest) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(cache.join("builds"))? {
        let folder = entry?.path();
        let (kernel, config) = (folder.join("vmlinux"), folder.join("kernel.config"));
        if kernel.is_file() && config.is_file() && sha256(&kernel)? == manifest.kernel.sha256 {
            return Ok(Some(config));
        }
    }
    Ok(None)
}

fn page(manifest: &Manifest, origins: &[Origin]) -> String {
    let mut page = include_str!("texts/GUEST.txt").replace("{kernel}", &manifest.kernel.version);
    page += &format!("\n{:<20} {:<38} {:<20} {}\n", "package", "version", "source package", "source version");
    for Origin { package, source: (name, version), .. } in origins {
        page += &format!("{:<20} {:<38} {name:<20} {version}\n", package.name, package.version);
    }
    page += "\nSources of what is linked into programs of these packages, each with its version:\n";
    for Origin { package, inside, .. } in origins.iter().filter(|origin| !origin.inside.is_empty()) {
        page += &format!("\n{}\n", package.name);
        inside.iter().for_each(|source| page += &format!("    {source}\n"));
    }
    let mut sources: BTreeSet<String> = origins.iter().map(|o| format!("{}={}", o.source.0, o.source.1)).collect();
    sources.extend(origins.iter().flat_map(|origin| &origin.inside).map(|source| source.replace(' ', "=")));
    page += "\nAll of them, for `apt-get source --download-only`:\n\n";
    sources.iter().for_each(|source| page += &format!("{source}\n"));
    page
}

#[cfg(test)]
mod tests {
    use super::mentioned;

    #[test]
    fn licences_that_a_text_refers_to_are_found() {
        let text = "see /usr/share/common-licenses/GPL-2.\nand `/usr/share/common-licenses/LGPL-2.1', /usr/share/common-licenses/";
        assert_eq!(mentioned(text).into_iter().collect::<Vec<_>>(), ["GPL-2", "LGPL-2.1"]);
    }
}
