//! `cargo xtask soak folders`: the server of shared folders under this host's own kernel, for longer than a test may take. Names are
//! exchanged under it while others walk through them, and strace is the judge of what it opened; then it is asked for a million
//! names, and its memory and descriptors are read from outside. Root only, in a mount namespace that ends with it.

mod escape;
mod judge;
mod lookups;
mod mounted;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::packages::{self, Package};
use crate::process::Run;
use crate::products;

const NEEDED: &[Package] =
    &[Package { name: "strace", probe: "strace" }, Package { name: "util-linux", probe: "unshare" }];
/// Who takes longer hangs.
const STUCK: Duration = Duration::from_secs(4 * 3600);

/// What the half in the namespace is told.
#[derive(Debug, clap::Args)]
pub struct Inside {
    /// The server with its mount.
    #[arg(long)]
    rig: PathBuf,
    /// An empty folder.
    #[arg(long)]
    place: PathBuf,
    /// Tries to get out of the share.
    #[arg(long)]
    tries: u64,
}

/// Makes what is needed, and goes on in a namespace.
pub fn run(tries: u64) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root mounts");
    packages::ensure(NEEDED)?;
    let (rig, place) = (products::fuse_rig()?, tempfile::tempdir()?);
    Run::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args([products::this_program()?])
        .args(["inside-folders", "--rig"])
        .args([rig])
        .args(["--place"])
        .args([place.path()])
        .args(["--tries", &tries.to_string()])
        .within(STUCK)
        .show()
}

/// The half in the namespace.
pub fn inside(asked: &Inside) -> Result<()> {
    lookups::f10_a_million_lookups_leave_nothing(&asked.rig, &asked.place.join("lookups"))?;
    escape::f6_names_exchanged_under_it_lead_nowhere(&asked.rig, &asked.place.join("escape"), asked.tries)
}
