//! `bench net`: what lighter's user-mode TCP/IP stack costs beside `pasta` and `slirp4netns`, in network namespaces of this
//! host and without a guest (see the example `net_rig`).
//!
//! ```text
//!   guest-lighter-1500 ── TAP ── net_rig ───┐
//!   guest-pasta-1500 ──── TAP ── pasta ─────┤ sockets in `home` ── cable ── servers in `out`
//!   guest-slirp4netns-… ─ TAP ── … ─────────┘
//! ```
//! Everything lives in one mount and PID namespace, whose first process is [`inside`]: with it go, however it ends, all
//! processes and all namespaces. The same clients and servers, in threads of that process, serve all three.

mod clients;
mod counters;
mod measures;
mod servers;
mod stacks;
mod table;
mod world;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::Run;
use crate::{packages, products};

/// What the half inside the namespaces is told.
#[derive(clap::Args)]
pub struct Inside {
    /// The rig's program.
    #[arg(long)]
    rig: PathBuf,
    /// Where the figures go.
    #[arg(long)]
    figures: PathBuf,
    /// Alternating runs of each measure.
    #[arg(long)]
    pairs: u32,
    /// Words that select measures by name.
    words: Vec<String>,
}

/// Runs the comparison in namespaces of its own and returns its figures.
pub fn run(pairs: u32, words: &[String]) -> Result<Value> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces are made by root only");
    packages::ensure(packages::NETWORK_BENCH)?;
    let rig = products::net_rig()?;
    let dir = tempfile::Builder::new().prefix("ln").tempdir_in("/tmp")?;
    let figures = dir.path().join("figures.json");
    let mut command = Run::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args([products::this_program()?])
        .args(["inside-net", "--pairs", &pairs.to_string()])
        .args([Path::new("--rig"), &rig, Path::new("--figures"), &figures])
        .args(words)
        .into_command();
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot run unshare")?;
    // The other end of this pipe is ours until we end; waiting would close one that the child still had.
    let _held = child.stdin.take();
    let status = child.wait()?;
    if !status.success() {
        bail!("the comparison ended with {status}");
    }
    serde_json::from_slice(&std::fs::read(&figures)?).context("read the figures")
}

/// The first process of the PID namespace.
pub fn inside(asked: &Inside) -> Result<()> {
    ensure!(std::process::id() == 1, "this is the inner half of `cargo xtask bench net`");
    std::thread::spawn(|| {
        // Nobody writes; it ends when the outer half does.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    world::make()?;
    let arrived = servers::start()?;
    let stacks = stacks::start(&asked.rig)?;
    let turns = measures::run(&stacks, &arrived, asked.pairs, &asked.words)?;
    let medians = table::show(&turns);
    let calls = if asked.words.is_empty() { counters::count(&stacks, &arrived)? } else { Value::Null };
    let figures = serde_json::json!({ "medians": medians, "turns": turns, "system_calls": calls });
    std::fs::write(&asked.figures, serde_json::to_string(&figures)?).context("write the figures")
}
