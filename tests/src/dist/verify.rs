//! Whether what was packed works for somebody who has nothing else: each package is unpacked into an empty folder, its sums are
//! checked, and its program is asked which image it would boot, with a home and a cache that are empty. No guest is needed for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lighter_image::{Image, place};

use super::tree::SUMS;
use super::{VERSION, boot};
use crate::packages;
use crate::process::{Finished, Run};
use crate::rig::wine::{self, Wine};

/// Hashing the image on a machine that does other things as well; a first start of Wine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A package, unpacked.
struct Unpacked {
    /// With the homes beside it.
    root: tempfile::TempDir,
    /// Where SHA256SUMS holds for.
    top: PathBuf,
    /// The list of sums, below it.
    sums: String,
    program: PathBuf,
    /// The packaged images.
    images: PathBuf,
    /// What runs it, if that is not this system.
    wine: Option<Wine>,
}

/// Tries a package, and says what was seen.
pub fn package(package: &Path, image: &Image, starts: bool) -> Result<()> {
    let file = package.file_name().and_then(|name| name.to_str()).context("a package has a name")?;
    let verified = |what: &str| println!("verified: {file}: {what}");
    let mut unpacked = unpack(package, file).with_context(|| format!("cannot unpack {file}"))?;
    Run::new("sha256sum").args(["--check", "--quiet", &unpacked.sums]).dir(&unpacked.top).within(PATIENCE).ok()?;
    verified("every file has the sum that SHA256SUMS says");
    let windows = file.contains("windows");
    if file.contains("macos") || (windows && !packages::there(wine::PROGRAM)) {
        println!(
            "not tried: {file}: its program does not run here (Debian's packages wine and wine64 run those of Windows)"
        );
        return Ok(());
    }
    unpacked.wine = windows.then(Wine::prepare).transpose()?;
    let said = ask(&unpacked, &["--version"])?.text();
    // Windows names the program with its ending.
    ensure!(said.replace(".exe", "") == format!("lighter {VERSION}"), "`{file}`: --version says {said:?}");
    verified(&format!("--version says {said}"));
    let found = doctor(&unpacked)?;
    let folder = found["image"].as_str().with_context(|| format!("`{file}`: doctor finds no image: {found}"))?;
    ensure!(folder.contains(image.name()) && passed(&found), "`{file}`: doctor boots {folder}: {found}");
    let from = unpacked.images.strip_prefix(&unpacked.top)?.join(image.name());
    if !windows {
        ensure!(Path::new(folder) == unpacked.top.canonicalize()?.join(&from), "`{file}`: doctor boots {folder}");
    }
    verified(&format!("with an empty home and cache, doctor finds and checks {}", from.display()));
    if starts && file.ends_with(".tar.gz") {
        boot::run(&unpacked.program, unpacked.root.path())?;
        verified("the software engine boots it, and `docker run --rm lighter/demo` says hello");
    }
    fs::rename(&unpacked.images, unpacked.root.path().join("away"))?;
    let found = doctor(&unpacked)?;
    ensure!(!passed(&found) && found["image"].is_null(), "`{file}`: doctor finds an image that is away: {found}");
    ensure!(found.to_string().contains("install lighter again"), "`{file}`: doctor names no cure: {found}");
    verified("without the image, doctor says so and names the cures");
    Ok(())
}

fn unpack(package: &Path, file: &str) -> Result<Unpacked> {
    let root = tempfile::tempdir()?;
    let base = root.path().join("unpacked");
    fs::create_dir(&base)?;
    for home in ["home", "cache"] {
        fs::create_dir(root.path().join(home))?;
    }
    let run = |words: &[&std::ffi::OsStr]| Run::new(words[0]).args(&words[1..]).within(PATIENCE).ok();
    let (package, into) = (package.as_os_str(), base.as_os_str());
    if file.ends_with(".deb") {
        run(&["dpkg-deb".as_ref(), "--extract".as_ref(), package, into])?;
        let images = base.join("usr/share/lighter").join(place::FOLDER);
        let (program, sums) = (base.join("usr/bin/lighter"), format!("usr/share/doc/lighter/{SUMS}"));
        return Ok(Unpacked { root, top: base, sums, program, images, wine: None });
    }
    let stem = match (file.strip_suffix(".tar.gz"), file.strip_suffix(".zip")) {
        (Some(stem), _) => {
            run(&["tar".as_ref(), "-xzf".as_ref(), package, "-C".as_ref(), into])?;
            stem
        }
        (_, Some(stem)) => {
            packages::ensure(&[packages::Package { name: "unzip", probe: "unzip" }])?;
            run(&["unzip".as_ref(), "-q".as_ref(), package, "-d".as_ref(), into])?;
            stem
        }
        _ => bail!("a package of an unknown kind"),
    };
    let top = base.join(stem);
    let program = ["lighter", "lighter.exe"].map(|name| top.join(name)).into_iter().find(|path| path.is_file());
    let program = program.context("there is no program in it")?;
    let images = top.join(place::FOLDER);
    Ok(Unpacked { root, top, sums: SUMS.to_owned(), program, images, wine: None })
}

/// Runs the program as somebody who has nothing; programs for Windows by Wine, where the computer's root is the drive Z.
fn ask(unpacked: &Unpacked, words: &[&str]) -> Result<Finished> {
    let (home, cache) = (unpacked.root.path().join("home"), unpacked.root.path().join("cache"));
    let run = match &unpacked.wine {
        None => Run::new(&unpacked.program)
            .args(words)
            .env("HOME", &home)
            .env("LIGHTER_CACHE", &cache)
            .without_env("LIGHTER_HOME")
            .without_env("XDG_CACHE_HOME"),
        // Its users' homes are in Wine's own folder, so this one has to be named.
        Some(wine) => wine
            .run([unpacked.program.as_os_str()].into_iter().chain(words.iter().map(AsRef::as_ref)))
            .env("LIGHTER_HOME", format!("Z:{}", home.display()))
            .env("LIGHTER_CACHE", format!("Z:{}", cache.display())),
    };
    run.within(PATIENCE).finish()
}

/// What `doctor` finds. Its exit status also tells of docker and hypervisors, which are no part of the package.
fn doctor(unpacked: &Unpacked) -> Result<serde_json::Value> {
    let done = ask(unpacked, &["doctor", "--json"])?;
    serde_json::from_slice(&done.stdout).with_context(|| format!("`doctor --json` says no JSON: {}", done.talk()))
}

/// Whether the check of the image is among those that have nothing to say.
fn passed(found: &serde_json::Value) -> bool {
    found["passed"].as_array().is_some_and(|passed| passed.iter().any(|id| id == "image"))
}
