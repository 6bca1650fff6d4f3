//! Programs that the rigs need beside the products: the docker CLI, its buildx plugin, a static busybox and the kernel of the
//! outer machine with its QEMU. What Debian's stable release of this host lacks comes from the release that the guest is made of or
//! from its backports, unpacked into the cache without being installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::packages;
use crate::process::Run;

/// Paths of everything a rig runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Tools {
    /// The docker CLI.
    #[arg(long)]
    pub docker: PathBuf,
    /// The `lighter` binary under test.
    #[arg(long)]
    pub lighter: PathBuf,
    /// A static busybox.
    #[arg(long)]
    pub busybox: PathBuf,
    /// Folder with the docker CLI's plugins.
    #[arg(long)]
    pub plugins: PathBuf,
    /// The conformance suite, static.
    #[arg(long)]
    pub conformance: PathBuf,
    /// The measuring client, static.
    #[arg(long)]
    pub meter: PathBuf,
    /// The cache that holds the guest image.
    #[arg(long)]
    pub cache: PathBuf,
}

impl Tools {
    /// Finds or fetches all of them; builds what is ours.
    pub fn prepare() -> Result<Self> {
        packages::ensure(packages::TEST)?;
        packages::ensure_docker_cli()?;
        crate::image::ensure()?;
        let cache = crate::image::cache()?;
        Ok(Self {
            docker: on_path("docker")?,
            lighter: crate::products::lighter()?,
            busybox: PathBuf::from("/bin/busybox"),
            plugins: buildx(&cache)?,
            conformance: crate::products::conformance()?,
            meter: crate::products::meter()?,
            cache,
        })
    }
}

impl Tools {
    /// These paths as the flags that this program's inner halves take.
    pub fn flags(&self) -> String {
        let pairs = [
            ("docker", &self.docker),
            ("lighter", &self.lighter),
            ("busybox", &self.busybox),
            ("plugins", &self.plugins),
            ("conformance", &self.conformance),
            ("meter", &self.meter),
            ("cache", &self.cache),
        ];
        pairs.map(|(flag, path)| format!("--{flag} {}", path.display())).join(" ")
    }
}

fn on_path(program: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(Run::new("sh").args(["-c", &format!("command -v {program}")]).ok()?.text()))
}

/// The folder that holds `docker-buildx`.
fn buildx(cache: &Path) -> Result<PathBuf> {
    let tree = lighter_image::tools::unpacked(cache, "docker-buildx")?;
    let found =
        Run::new("find").args([&tree]).args(["-name", "docker-buildx", "-type", "f", "-perm", "-100"]).ok()?.text();
    let binary = found.lines().next().with_context(|| format!("no docker-buildx below {}", tree.display()))?;
    Ok(Path::new(binary).parent().context("a file has a folder")?.to_owned())
}

/// The outer machine's kernel: a folder with `boot/` and `lib/modules/`.
pub fn outer_kernel(cache: &Path) -> Result<PathBuf> {
    Ok(lighter_image::tools::unpacked(cache, "linux-image-amd64")?)
}

/// Older ones lose interrupts, see [`super::outer`].
const OUTER_QEMU: &str = "1:10.2";

/// The outer machine's QEMU, with all that it needs in one tree.
pub fn outer_qemu(cache: &Path) -> Result<PathBuf> {
    Ok(lighter_image::tools::whole_since(cache, "qemu-system-x86", OUTER_QEMU)?)
}
