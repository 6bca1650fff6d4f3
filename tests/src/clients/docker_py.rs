//! The Docker SDK for Python, in an environment of its own.

use std::time::Duration;

use anyhow::Result;

use super::report::Report;
use super::{Stage, install};
use crate::process::Run;
use crate::rig::tools::Tools;

pub(super) fn install(tools: &Tools) -> Result<()> {
    install::python(&tools.cache).map(drop)
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    // -B: nothing is written into the source tree.
    let run = Run::new(install::python(&stage.tools.cache)?).args(["-B"]);
    let run = stage.with_docker_host(run.args([install::sources().join("python/docker_sdk.py")]));
    report.program(run.into_command(), Duration::from_secs(300))
}
