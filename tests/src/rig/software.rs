//! The software rig: lighter on this host with QEMU as the CPU, driven by the docker CLI.

use std::path::Path;

use anyhow::{Context, Result};

use super::tools::Tools;
use crate::docker::{self, Session};

/// Starts lighter in a folder of its own, runs the cases, and stops it whatever happened.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("lt").tempdir_in("/tmp")?;
    let mut session = session(tools, dir.path(), "software", 1)?;
    session.words = wanted.to_vec();
    let result = drive(&session, "software", wanted);
    // A case that failed half-way may have left the machine running.
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    if result.is_err() {
        tails(&session);
    }
    result
}

/// A session in `dir` with a docker configuration that already holds something of the user's.
pub fn session(tools: &Tools, dir: &Path, engine: &'static str, patience: u32) -> Result<Session> {
    let config = dir.join("docker");
    std::fs::create_dir_all(&config)?;
    let own = serde_json::json!({ "lighterTestsOwnKey": "kept", "cliPluginsExtraDirs": [tools.plugins] });
    std::fs::write(config.join("config.json"), serde_json::to_vec_pretty(&own)?)?;
    let session = Session {
        docker: tools.docker.clone(),
        lighter: tools.lighter.clone(),
        busybox: tools.busybox.clone(),
        dir: dir.to_owned(),
        conformance: tools.conformance.clone(),
        meter: tools.meter.clone(),
        cache: tools.cache.clone(),
        engine,
        // The emulated machine has one CPU itself; two guest CPUs on it would only take turns.
        cpus: if engine == "kvm" { "1" } else { "2" },
        patience,
        words: Vec::new(),
    };
    // Whatever a case asks for, nothing of it may reach the outside of this machine; the network rig has a world of its own.
    session.configure("network = false")?;
    Ok(session)
}

/// Start, prepare, run the cases.
pub fn drive(session: &Session, rig: &str, wanted: &[String]) -> Result<()> {
    let started = std::time::Instant::now();
    session.start().context("lighter start")?;
    println!("{rig}: started in {:.1} s", started.elapsed().as_secs_f64());
    session.import_busybox()?;
    docker::run_all(session, rig, wanted)
}

/// Shows the ends of the machine's logs after a failure.
pub fn tails(session: &Session) {
    for name in ["daemon.log", "console.log"] {
        let Ok(text) = std::fs::read(session.dir.join("home/default").join(name)) else { continue };
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        println!("--- end of {name}");
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("    {line}");
        }
    }
}
