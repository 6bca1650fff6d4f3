//! bollard (Rust), as a program of its own.

use std::time::Duration;

use anyhow::Result;

use super::report::Report;
use super::{Stage, install};
use crate::process::Run;
use crate::rig::tools::Tools;

pub(super) fn install(_: &Tools) -> Result<()> {
    program().map(drop)
}

fn program() -> Result<std::path::PathBuf> {
    install::rust("bollard")
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let run = stage.with_docker_host(Run::new(program()?));
    report.program(run.into_command(), Duration::from_secs(300))
}
