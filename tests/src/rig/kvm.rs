//! The kvm rig: the same cases with the KVM engine, inside the outer machine. This file has both halves: the one that
//! starts the machine, and [`inside`], which this same binary runs in there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::outer::Outer;
use super::software::{drive, session, tails};
use super::tools::Tools;

/// Emulated KVM exits are some hundred times slower than a processor's.
const PATIENCE: u32 = 4;

/// Boots the outer machine and runs the cases in it.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let outer =
        Outer { kernel_tree: super::tools::outer_kernel(&tools.cache)?, busybox: tools.busybox.clone(), memory: 6144 };
    let binary = std::env::current_exe().context("where this program is")?;
    let mut command = format!("{} inside {}", binary.display(), tools.flags());
    for name in wanted {
        command += &format!(" {name}");
    }
    outer.run(&command, Duration::from_secs(40 * 60)).map(drop)
}

/// The half that runs in the outer machine.
pub fn inside(tools: &Tools, wanted: &[String]) -> Result<()> {
    let dir = Path::new("/tmp/rig");
    std::fs::create_dir_all(dir)?;
    let session = session(tools, dir, "kvm", PATIENCE)?;
    let result = drive(&session, "kvm", wanted);
    drop(session.lighter(["stop", "--force"]).finish());
    if result.is_err() {
        tails(&session);
    }
    result
}
