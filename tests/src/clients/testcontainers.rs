//! Testcontainers, for Rust (which knows `DOCKER_HOST`) and for Python (which follows the docker context).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::report::Report;
use super::{Stage, install};
use crate::docker::Session;
use crate::process::Run;
use crate::rig::tools::Tools;
use crate::rig::world::program_at_home;

const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn install_rust(_: &Tools) -> Result<()> {
    program().map(drop)
}

pub(super) fn install_python(tools: &Tools) -> Result<()> {
    install::python(&tools.cache).map(drop)
}

fn program() -> Result<std::path::PathBuf> {
    install::rust("testcontainers")
}

/// Brings what [`with_a_network`] runs, for a rig that can neither fetch nor build.
pub fn fetch(cache: &Path) -> Result<()> {
    install::python(cache)?;
    program().map(drop)
}

/// What Testcontainers needs a network for: mapped ports, and the reaper that removes what a killed program leaves. A case of the
/// network rig, with the clients in the namespace of the host; `reaper` is an image.
pub fn with_a_network(session: &Session, cache: &Path, reaper: &str) -> Result<()> {
    let env: serde_json::Value = serde_json::from_slice(&session.lighter(["env", "--json"]).ok()?.stdout)?;
    let docker_host = env["DOCKER_HOST"].as_str().context("`lighter env` names no DOCKER_HOST")?;
    let python = install::python(cache)?.display().to_string();
    let script = install::sources().join("python/reaped.py").display().to_string();
    let rust = if session.engine == "kvm" { install::built("testcontainers") } else { program() };
    let rust = rust?.display().to_string();
    for (client, words) in [
        ("testcontainers-python", &[python.as_str(), "-B", script.as_str()][..]),
        ("testcontainers-rust", &[rust.as_str(), "a_mapped_port_is_reached"]),
    ] {
        let run = session.dress(program_at_home(words[0])).args(&words[1..]).env("DOCKER_HOST", docker_host);
        let mut report = Report::new(client, Vec::new());
        // On a host that is a container itself this client would take the engine's own network for its neighbourhood.
        let run = run.env("RYUK_CONTAINER_IMAGE", reaper).env("TESTCONTAINERS_CONNECTION_MODE", "docker_host");
        report.program(run.into_command(), PATIENCE * session.patience)?;
        ensure!(report.failed.is_empty() && report.passed == 1, "{} of {client}: {:?}", report.passed, report.failed);
    }
    Ok(())
}

pub(super) fn run_rust(stage: &Stage, report: &mut Report) -> Result<()> {
    report.program(stage.with_docker_host(Run::new(program()?)).into_command(), PATIENCE)
}

pub(super) fn run_python(stage: &Stage, report: &mut Report) -> Result<()> {
    let run = Run::new(install::python(&stage.tools.cache)?).args(["-B"]);
    let run = stage.session.dress(run.args([install::sources().join("python/testcontainers_sdk.py")]));
    // Its reaper is reached by a published port, and this machine publishes none; this is the documented switch. The network rig
    // has a case with the reaper.
    report.program(run.env("TESTCONTAINERS_RYUK_DISABLED", "true").into_command(), PATIENCE)
}
