//! dockerode (Node.js), with packages from a pinned list.

use std::time::Duration;

use anyhow::Result;

use super::report::Report;
use super::{Stage, install};
use crate::process::Run;
use crate::rig::tools::Tools;

pub(super) fn install(tools: &Tools) -> Result<()> {
    install::node_modules(tools).map(drop)
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let run = Run::new("node").args([install::sources().join("node/session.js")]);
    let run = stage.with_docker_host(run).env("NODE_PATH", install::node_modules(stage.tools)?);
    report.program(run.into_command(), Duration::from_secs(300))
}
