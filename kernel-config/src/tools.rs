//! Programs from Debian for the host's own use (test rigs), unpacked into the cache without being installed: by the same private
//! apt as the guest's packages, so any Debian or Ubuntu host gets those of the guest's release, or where it is said of its
//! backports or of the release after it. Called by xtask.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    apt::Apt,
    architecture::Architecture,
    command,
    debian::{Archive, RELEASE},
    digest,
    error::BuildError,
    hold,
    progress::PlainLines,
};

const CURE: &str = "Free disk space, or remove the cache directory's `tools` and try again";

/// The directory with the content of `package`, fetched at the first call. A package without content that stands for
/// another one (as `linux-image-amd64` does for the newest kernel) gives that one's.
pub fn unpacked(cache: &Path, package: &str) -> Result<PathBuf, BuildError> {
    let none = || BuildError::NoPackage { name: package.to_owned() };
    all_unpacked(cache, &[package])?.pop().ok_or_else(none)
}

/// The same of several, in the same order; the archive's indexes are fetched once for those that are not there yet.
pub fn all_unpacked(cache: &Path, packages: &[&str]) -> Result<Vec<PathBuf>, BuildError> {
    let targets: Vec<PathBuf> = packages.iter().map(|package| tools(cache).join(package)).collect();
    let are_there = || targets.iter().all(|target| target.is_dir());
    unless(are_there, cache, Archive::Release, |apt| {
        let absent = packages.iter().copied().zip(&targets).filter(|(_, target)| !target.is_dir());
        let (names, targets): (Vec<&str>, Vec<&PathBuf>) = absent.unzip();
        // All in one question: apt reads the whole index for each.
        let debs = apt.fetch(&apt.resolve(&names)?)?;
        for ((package, target), deb) in names.into_iter().zip(targets).zip(debs) {
            let deb = match stands_for(&deb, package)? {
                Some(real) => fetch(apt, &real)?,
                None => deb,
            };
            unpack(&[deb], target)?;
        }
        Ok(())
    })?;
    Ok(targets)
}

/// A directory with the content of `package` and of all that it depends on, its own C library too, in one tree.
/// No package's script has run: a program in it is started by the dynamic loader in there, and told where its files are.
pub fn whole(cache: &Path, package: &str) -> Result<PathBuf, BuildError> {
    let target = tools(cache).join(format!("{package}-{RELEASE}"));
    unless(|| target.is_dir(), cache, Archive::Release, |apt| unpack(&apt.fetch(&apt.closure(package)?)?, &target))?;
    Ok(target)
}

/// The same of the newest version that was made for that release later on. An error if that is older than `least`.
pub fn whole_since(cache: &Path, package: &str, least: &str) -> Result<PathBuf, BuildError> {
    // A colon would end the folder's name in a list of paths.
    let target = tools(cache).join(format!("{package}-{}", least.replace(':', "-")));
    let make = |apt: &Apt| {
        let found = apt.closure(package)?;
        let version = found.iter().find(|candidate| candidate.package.name == package).map(|c| &c.package.version);
        let version = version.ok_or_else(|| BuildError::NoPackage { name: package.to_owned() })?;
        let compare = command::command("dpkg").args(["--compare-versions", version, "ge", least]).status();
        if !compare.is_ok_and(|status| status.success()) {
            let (name, version, least) = (package.to_owned(), version.clone(), least.to_owned());
            return Err(BuildError::OldPackage { name, version, least });
        }
        unpack(&apt.fetch(&found)?, &target)
    };
    unless(|| target.is_dir(), cache, Archive::Backports, make)?;
    Ok(target)
}

/// A directory with the content of `packages` of the release after the guest's in one tree, called after `name` and them, and
/// below `source/` what is in the file of `source`'s source package whose name ends so.
pub fn of_next(cache: &Path, name: &str, packages: &[&str], source: (&str, &str)) -> Result<PathBuf, BuildError> {
    let inputs = [Archive::Next.name(), source.0, source.1, &packages.join(" ")];
    let which = digest::of_bytes(inputs.join(" ").as_bytes());
    let target = tools(cache).join(format!("{name}-{}", &which[..8]));
    let make = |apt: &Apt| {
        let mut debs = apt.fetch(&apt.resolve(packages)?)?;
        for (deb, package) in debs.iter_mut().zip(packages) {
            if let Some(real) = stands_for(deb, package)? {
                *deb = fetch(apt, &real)?;
            }
        }
        let source = apt.source_file(source.0, source.1)?;
        unpack_with(&debs, &target, |tree| {
            let inside = tree.join("source");
            fs::create_dir_all(&inside).map_err(BuildError::io("create", &inside))?;
            command::output(
                command::command("tar").arg("-C").arg(&inside).arg("--no-same-owner").arg("-xf").arg(&source),
                CURE,
            )
            .map(drop)
        })
    };
    unless(|| target.is_dir(), cache, Archive::Next, make)?;
    Ok(target)
}

fn tools(cache: &Path) -> PathBuf {
    cache.join("tools")
}

/// Calls `fetch` with an apt whose indexes are fresh, unless what it is to fetch is there; one process at a time does.
fn unless(
    is_there: impl Fn() -> bool,
    cache: &Path,
    archive: Archive,
    fetch: impl FnOnce(&Apt) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    if is_there() {
        return Ok(());
    }
    let tools = tools(cache);
    hold::check_path(cache)?;
    fs::create_dir_all(&tools).map_err(BuildError::io("create", &tools))?;
    let _lock = hold::lock(&tools, &mut PlainLines::new(std::io::stderr()))?;
    // Whoever had the lock before us may have wanted the same.
    if is_there() {
        return Ok(());
    }
    let host = std::env::consts::ARCH;
    let architecture = Architecture::of_host().ok_or(BuildError::UnsupportedHost { host })?;
    // Each archive has a state of its own: what one prefers is not what another would take.
    let state = match archive {
        Archive::Release => "apt".to_owned(),
        other => format!("apt-{}", other.name()),
    };
    let apt = Apt::of(archive, &tools.join(state), architecture.debian)?;
    apt.update()?;
    fetch(&apt)
}

/// Makes `target` of what the packages hold, or not at all.
fn unpack(debs: &[PathBuf], target: &Path) -> Result<(), BuildError> {
    unpack_with(debs, target, |_| Ok(()))
}

/// The same with something more in it.
fn unpack_with(
    debs: &[PathBuf],
    target: &Path,
    more: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let mut fresh = target.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(BuildError::io("remove", &fresh))?;
    }
    for deb in debs {
        command::output(command::command("dpkg-deb").arg("-x").arg(deb).arg(&fresh), CURE)?;
    }
    more(&fresh)?;
    fs::rename(&fresh, target).map_err(BuildError::io("create", target))
}

fn fetch(apt: &Apt, package: &str) -> Result<PathBuf, BuildError> {
    let found = apt.resolve(&[package])?;
    let none = || BuildError::NoPackage { name: package.to_owned() };
    apt.fetch(&found)?.pop().ok_or_else(none)
}

/// The first dependency of a package whose name it extends by a version, as a meta package's does.
fn stands_for(deb: &Path, package: &str) -> Result<Option<String>, BuildError> {
    let depends = command::output(command::command("dpkg-deb").arg("-f").arg(deb).arg("Depends"), CURE)?;
    Ok(versioned_name(&String::from_utf8_lossy(&depends), package))
}

fn versioned_name(depends: &str, package: &str) -> Option<String> {
    let stem = package.rsplit_once('-').map_or(package, |(stem, _)| stem);
    let first = depends.split([',', ' ', '(']).next()?.trim();
    let digit = first.strip_prefix(stem)?.strip_prefix('-')?.starts_with(|c: char| c.is_ascii_digit());
    digit.then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::versioned_name;

    #[test]
    fn a_meta_package_leads_to_the_real_one_and_others_to_themselves() {
        let kernel = "linux-image-6.12.48+deb13-amd64 (= 6.12.48-1)";
        assert_eq!(versioned_name(kernel, "linux-image-amd64").as_deref(), Some("linux-image-6.12.48+deb13-amd64"));
        assert_eq!(versioned_name("libc6 (>= 2.34), docker-cli", "docker-buildx"), None);
        assert_eq!(versioned_name("", "docker-buildx"), None);
    }
}
