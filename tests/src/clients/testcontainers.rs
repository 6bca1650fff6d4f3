//! Testcontainers, for Rust (which knows `DOCKER_HOST`) and for Python (which follows the docker context).

use std::time::Duration;

use anyhow::Result;

use super::report::Report;
use super::{Stage, install};
use crate::process::Run;
use crate::rig::tools::Tools;

const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn install_rust(_: &Tools) -> Result<()> {
    program().map(drop)
}

pub(super) fn install_python(tools: &Tools) -> Result<()> {
    install::python(tools).map(drop)
}

fn program() -> Result<std::path::PathBuf> {
    install::rust("testcontainers")
}

pub(super) fn run_rust(stage: &Stage, report: &mut Report) -> Result<()> {
    report.program(stage.with_docker_host(Run::new(program()?)).into_command(), PATIENCE)
}

pub(super) fn run_python(stage: &Stage, report: &mut Report) -> Result<()> {
    let run = Run::new(install::python(stage.tools)?).args(["-B"]);
    let run = stage.session.dress(run.args([install::sources().join("python/testcontainers_sdk.py")]));
    // Its reaper is reached by a published port, and this machine publishes none; this is the documented switch.
    report.program(run.env("TESTCONTAINERS_RYUK_DISABLED", "true").into_command(), PATIENCE)
}
