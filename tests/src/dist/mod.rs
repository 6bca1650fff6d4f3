//! `cargo xtask dist`: packages that a person can install, in `target/dist`. Each holds the program, the guest image, how to
//! install it and all licences; what was packed is unpacked again and tried. What goes in is packed to the same bytes each time; the
//! programs themselves name the path that they were built at.

mod archive;
mod boot;
mod crates;
mod deb;
mod guest;
mod target;
mod tree;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use lighter_image::{Image, cache, manifest, place};

use crate::process::Run;
use crate::products::{self, GUEST_TARGET};
use crate::{image, packages};
use target::{Built, Target};
use tree::{SUMS, Tree, sha256};

/// The version of everything in this repository.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is to be packed.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// For one system only; without it for all that this machine can build for.
    #[arg(long)]
    target: Option<Target>,
    /// Pack the guest image in this folder instead of building one.
    #[arg(long, value_name = "FOLDER")]
    image: Option<PathBuf>,
    /// Also start the machine from the unpacked archive, with the software engine, and run a container.
    #[arg(long)]
    boot: bool,
    /// Make nothing, only try the packages that an earlier run has made.
    #[arg(long)]
    again: bool,
}

/// What every package for one system holds.
struct Contents {
    program: PathBuf,
    image: Tree,
    licence: String,
    licences: Tree,
    install: String,
}

/// Makes the packages, tries them, and says what there is.
pub fn run(asked: &Asked) -> Result<()> {
    packages::ensure(packages::RUN)?;
    let folder = asked.image.clone().map_or_else(image::ensure, |folder| Ok(folder.canonicalize()?))?;
    let image = Image::open(&folder)?;
    image.verify()?;
    let (out, stamp) = (products::target_dir()?.join("dist"), stamp()?);
    if asked.again {
        return try_out(&packages_in(&out, asked.target)?, &image, asked.boot);
    }
    let stage = out.join("stage");
    fs::create_dir_all(&stage).with_context(|| format!("cannot create {}", stage.display()))?;
    println!("==> licences of the guest image");
    let guest = guest_licences(&image)?;
    let (mut made, mut missing) = (Vec::new(), Vec::new());
    for target in asked.target.map_or(Target::ALL.to_vec(), |one| vec![one]) {
        println!("==> lighter for {}", target.name());
        match build(target, &image)? {
            Built::Program(program, asks) => {
                println!("{}: {asks}", target.program());
                let contents = contents(target, program, &image, &guest)?;
                made.extend(pack(target, &contents, [&stage, &out], stamp)?);
            }
            Built::Missing(why) => missing.push((target, why)),
        }
    }
    fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    try_out(&made, &image, asked.boot)?;
    finish(&made, &out)?;
    for (target, why) in &missing {
        println!("not made: {}: {why}", target.name());
    }
    ensure!(asked.target.is_none() || missing.is_empty(), "nothing was made for the system that was asked for");
    Ok(())
}

fn try_out(made: &[PathBuf], image: &Image, boot: bool) -> Result<()> {
    println!("==> what was packed");
    made.iter().try_for_each(|package| verify::package(package, image, boot))
}

/// The packages of this version that are there, for one system or for all.
fn packages_in(out: &Path, target: Option<Target>) -> Result<Vec<PathBuf>> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = format!("lighter-{VERSION}-{}", target.map(Target::name).unwrap_or_default());
    let entries = fs::read_dir(out).with_context(|| format!("there are no packages in {}", out.display()))?;
    let mut found: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    found.retain(|path| path.is_file() && name(path).starts_with(&wanted));
    found.sort();
    ensure!(!found.is_empty(), "there are no packages in {}: make them without --again", out.display());
    Ok(found)
}

/// The program for `target`, unless there is no image that it could start.
fn build(target: Target, image: &Image) -> Result<Built> {
    let built = target.build()?;
    let (wanted, found) = (target.architecture(), image.manifest().architecture.as_str());
    if wanted == found {
        return Ok(built);
    }
    let image = format!(
        "the guest image here is for {found}, and this system needs one for {wanted}, which is built on such a computer"
    );
    Ok(Built::Missing(match built {
        Built::Missing(why) => format!("{why}; and {image}"),
        Built::Program(..) => image,
    }))
}

/// The time that every packed file gets: of the last commit, or what SOURCE_DATE_EPOCH says (reproducible-builds.org).
fn stamp() -> Result<u64> {
    let said = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => said,
        Err(_) => Run::new("git").args(["log", "-1", "--pretty=%ct"]).dir(products::root()).ok()?.text(),
    };
    said.parse().with_context(|| format!("{said:?} is no time: set SOURCE_DATE_EPOCH to seconds since 1970"))
}

fn guest_licences(image: &Image) -> Result<Tree> {
    let cache = image::cache()?;
    let mut tree = guest::licences(&cache, image.manifest())?;
    if let Some((name, text)) = crates::c_library(&cache, GUEST_TARGET)? {
        tree.file(name, &text);
    }
    let mut inside = crates::of("lighter-agent", GUEST_TARGET)?;
    inside.extend(crates::of("lighter-demo", GUEST_TARGET)?);
    tree.text("CRATES-GUEST.txt", crates::page("Crates in lighter's own programs in the guest image.", &inside)?);
    Ok(tree)
}

fn contents(target: Target, program: PathBuf, image: &Image, guest: &Tree) -> Result<Contents> {
    let mut files = Tree::default();
    for part in image.manifest().files() {
        files.file(format!("{}/{}", image.name(), part.file), &image.dir().join(&part.file));
    }
    files.file(format!("{}/{}", image.name(), manifest::FILE), &image.dir().join(manifest::FILE));
    let pointer = cache::pointer_in(Path::new(""));
    files.text(pointer.to_string_lossy(), format!("{}\n", image.name()));
    let mut licences = guest.clone();
    let crates = crates::of("lighter", target.triple())?;
    licences.text("CRATES.txt", crates::page(&format!("Crates in lighter {VERSION} for {}.", target.name()), &crates)?);
    licences.file("RUST-LIBRARY.html", &crates::standard_library()?);
    if let Some((name, text)) = crates::c_library(&image::cache()?, target.triple())? {
        licences.file(name, &text);
    }
    let licence = fs::read_to_string(products::root().join("LICENSE")).context("cannot read LICENSE")?;
    let install = target.install().replace("{version}", VERSION);
    Ok(Contents { program, image: files, licence, licences, install })
}

/// Lays the contents out and packs them in each of the target's formats.
fn pack(target: Target, contents: &Contents, [stage, out]: [&Path; 2], stamp: u64) -> Result<Vec<PathBuf>> {
    let name = format!("lighter-{VERSION}-{}", target.name());
    let mut tree = Tree::default();
    tree.program(target.program(), &contents.program);
    tree.graft(place::FOLDER, &contents.image);
    tree.graft("licences", &contents.licences);
    tree.text("LICENSE", contents.licence.as_str());
    tree.text("INSTALL.md", contents.install.as_str());
    tree.seal(SUMS)?;
    tree.lay(&stage.join(&name), stamp)?;
    Ok(match target {
        Target::Linux => vec![archive::tar_gz(stage, &name, stamp, out)?, deb::make(contents, stage, stamp, out)?],
        Target::Windows => vec![archive::zip(stage, &name, &tree, out)?],
        Target::Macos => vec![archive::tar_gz(stage, &name, stamp, out)?],
    })
}

/// Writes the sums of all packages in `out`, those of earlier runs too, and shows those that were made.
fn finish(made: &[PathBuf], out: &Path) -> Result<()> {
    let mut all: Vec<PathBuf> = fs::read_dir(out)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    all.retain(|path| path.is_file() && !path.ends_with(SUMS));
    all.sort();
    let mut sums = String::new();
    println!("\n{:<40} {:>9}  SHA-256", "package", "MB");
    for path in &all {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("{} is no package of ours: move it away", path.display());
        };
        let sum = sha256(path)?;
        if made.contains(path) {
            println!("{name:<40} {:>9.1}  {sum}", path.metadata()?.len() as f64 / 1e6);
        }
        sums += &format!("{sum}  {name}\n");
    }
    fs::write(out.join(SUMS), sums)?;
    println!("in {}", out.display());
    Ok(())
}
