//! What the clients are made of, brought into the cache once and quietly: a Python environment and a node tree, both from
//! pinned lists with hashes; Debian's programs unpacked; programs in Rust built beside the workspace. The clients call this.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::Digest;

use crate::packages::{self, Package};
use crate::process::{Run, hex};
use crate::products;
use crate::rig::tools::Tools;

const PATIENCE: Duration = Duration::from_secs(1800);

/// The folder with the clients' own programs.
pub(super) fn sources() -> PathBuf {
    products::root().join("tests/clients")
}

/// The Python of an environment that has what `requirements.txt` pins.
pub(super) fn python(cache: &Path) -> Result<PathBuf> {
    packages::ensure(&[Package { name: "python3", probe: "python3" }])?;
    if !Run::new("python3").args(["-c", "import ensurepip, venv"]).finish()?.status.success() {
        packages::install(&["python3-venv"])?;
    }
    let requirements = sources().join("python/requirements.txt");
    let version = Run::new("python3").args(["--version"]).ok()?.text();
    let folder = filled(cache, "python", &[requirements.as_path()], &version, |folder| {
        Run::new("python3").args(["-m", "venv"]).args([folder]).within(PATIENCE).ok()?;
        let install = Run::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet"]);
        let install = install.args(["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "-r"]);
        install.args([&requirements]).within(PATIENCE).ok().map(drop)
    })?;
    Ok(folder.join("bin/python"))
}

/// The folder of node packages that `package-lock.json` pins.
pub(super) fn node_modules(tools: &Tools) -> Result<PathBuf> {
    packages::ensure(&[Package { name: "nodejs", probe: "node" }, Package { name: "npm", probe: "npm" }])?;
    let files = ["package.json", "package-lock.json"].map(|name| sources().join("node").join(name));
    let folder = filled(&tools.cache, "node", &files, "", |folder| {
        fs::create_dir_all(folder)?;
        for file in &files {
            fs::copy(file, folder.join(file.file_name().context("a file has a name")?))?;
        }
        // Without scripts: what they build is an optional accelerator of a transport that nobody uses here.
        let install = Run::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        install.dir(folder).within(PATIENCE).ok().map(drop)
    })?;
    Ok(folder.join("node_modules"))
}

/// A program of the crate with clients in Rust, built.
pub(super) fn rust(name: &str) -> Result<PathBuf> {
    let manifest = sources().join("rust/Cargo.toml");
    let target = products::target_dir()?.join("clients");
    let build = products::cargo(["build", "--quiet", "--locked", "--bin", name, "--manifest-path"]).args([&manifest]);
    build.args(["--target-dir"]).args([&target]).ok()?;
    built(name)
}

/// Programs of that crate for another system, built: the folder that they are in.
pub fn rust_for(triple: &str, names: &[&str]) -> Result<PathBuf> {
    let manifest = sources().join("rust/Cargo.toml");
    let target = products::target_dir()?.join("clients");
    let build = products::cargo(["build", "--quiet", "--locked", "--target", triple, "--manifest-path"]);
    let build = build.args([&manifest]).args(names.iter().flat_map(|name| ["--bin", name]));
    build.args(["--target-dir"]).args([&target]).ok()?;
    Ok(target.join(triple).join("debug"))
}

/// One of [`rust`], built before. cargo is not asked for its folder: where nothing can be built, it need not be there.
pub(super) fn built(name: &str) -> Result<PathBuf> {
    let own = products::this_program()?;
    let target = own.ancestors().nth(2).context("this program lies in a profile's folder of cargo's")?;
    let program = target.join("clients/debug").join(name);
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(program)
}

/// The one program of this name in a package of the guest's Debian release.
pub(super) fn debian(cache: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let tree = lighter_image::tools::unpacked(cache, package)?;
    let find = Run::new("find").args([&tree]).args(["-name", program, "-type", "f", "-perm", "-100", "-size", "+64k"]);
    let found = find.ok()?.text();
    let path = found.lines().next().with_context(|| format!("no {program} below {}", tree.display()))?;
    Ok(PathBuf::from(path))
}

/// A folder of the cache named after the content of `inputs`, filled by `fill` unless it is there already and whole.
fn filled<P: AsRef<Path>>(
    cache: &Path,
    kind: &str,
    inputs: &[P],
    version: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hash = sha2::Sha256::new_with_prefix(version);
    for input in inputs {
        hash.update(fs::read(input).with_context(|| format!("read {}", input.as_ref().display()))?);
    }
    let clients = cache.join("clients");
    let folder = clients.join(format!("{kind}-{}", &hex(&hash.finalize())[..16]));
    // Environments name their own path, so they are made in place; the mark says that one is whole.
    let mark = folder.join("whole");
    // The emulated machine can read the cache and not write to it.
    if mark.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&clients).with_context(|| format!("{} is not there and cannot be made", folder.display()))?;
    let lock = fs::File::create(clients.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    if !mark.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fill(&folder)?;
        fs::write(&mark, "")?;
    }
    Ok(folder)
}
