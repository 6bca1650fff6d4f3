//! The longest check of a package, by `cargo xtask dist --boot` only: its program starts the machine from the packaged image with the software
//! engine, in a home of its own, and runs the demo's container through the docker CLI.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::packages;
use crate::process::{Finished, Run};

/// Starts, runs, and ends it again whatever happened.
pub fn run(program: &Path, root: &Path) -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure_docker_cli()?;
    let tried = try_out(program, root);
    let ended = lighter(program, root, &["delete", "--force"]);
    tried?;
    ended.map(drop)
}

fn try_out(program: &Path, root: &Path) -> Result<()> {
    lighter(program, root, &["start", "--engine", "software", "--activate=false"])?;
    let said = lighter(program, root, &["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let host = status["docker_host"].as_str().unwrap_or_default().to_owned();
    let ran = Run::new("docker")
        .args(["--host", &host, "run", "--rm", "lighter/demo"])
        .env("HOME", root.join("home"))
        .without_env("DOCKER_CONTEXT")
        .without_env("DOCKER_HOST")
        .within(Duration::from_secs(300))
        .ok()?;
    ensure!(ran.text().starts_with("Hello"), "the demo says {:?}", ran.text());
    Ok(())
}

fn lighter(program: &Path, root: &Path, words: &[&str]) -> Result<Finished> {
    Run::new(program)
        .args(words)
        .env("HOME", root.join("home"))
        .env("LIGHTER_CACHE", root.join("cache"))
        .env("LIGHTER_HOME", root.join("home/machines"))
        .without_env("DOCKER_HOST")
        .within(Duration::from_secs(600))
        .ok()
}
