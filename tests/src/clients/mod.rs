//! Real Docker clients, unconfigured but for the docker context or `DOCKER_HOST` that a user would have: each has a session of
//! named checks against one machine that all share. The suite `clients` calls [`run`]; `CLIENT` or `CLIENT/CHECK` selects.

mod bollard;
mod buildx;
pub mod compose;
mod docker_py;
mod dockerode;
pub mod install;
pub mod registry;
mod report;
pub mod testcontainers;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::docker::{Session, same};
use crate::process::Run;
use crate::rig::software;
use crate::rig::tools::Tools;
pub use report::Report;

/// Deadlines only end what hangs, and this suite may share its host with other work.
const PATIENCE: u32 = 4;

/// A client program and its session.
struct Client {
    name: &'static str,
    /// Brings what the client is made of into the cache, before the machine starts.
    install: fn(&Tools) -> Result<()>,
    run: fn(&Stage, &mut Report) -> Result<()>,
}

const CLIENTS: &[Client] = &[
    Client { name: "compose", install: compose::install, run: compose::run },
    Client { name: "buildx", install: buildx::install, run: buildx::run },
    Client { name: "registry", install: registry::install, run: registry::run },
    Client { name: "bollard", install: bollard::install, run: bollard::run },
    Client { name: "docker-py", install: docker_py::install, run: docker_py::run },
    Client { name: "dockerode", install: dockerode::install, run: dockerode::run },
    Client { name: "testcontainers-rust", install: testcontainers::install_rust, run: testcontainers::run_rust },
    Client { name: "testcontainers-python", install: testcontainers::install_python, run: testcontainers::run_python },
];

/// Checks that take longest and show again what another client's check shows, or another of the same client's: they run when
/// clients or checks are named.
const BY_NAME: &[(&str, &[&str])] = &[
    ("compose", &["scale_up_and_down", "restart_starts_anew"]),
    ("buildx", &["bake_builds_two_images"]),
    ("registry", &["imagetools_inspect_and_create"]),
    ("bollard", &["build_from_a_streamed_tar"]),
    ("docker-py", &["eight_threads_exec_at_once", "volumes_and_networks"]),
    ("dockerode", &["build_is_followed_and_its_failure_too", "archive_up_and_down"]),
    ("testcontainers-rust", &["two_containers_meet_in_a_network", "stop_and_start_again", "a_file_is_copied_in"]),
    ("testcontainers-python", &["an_image_is_built_and_removed", "waits_for_a_command_to_succeed", "files_are_copied"]),
];

/// What a client's session has to work with.
struct Stage<'a> {
    session: &'a Session,
    tools: &'a Tools,
    /// What `lighter env` gives.
    docker_host: String,
}

impl Stage<'_> {
    /// An empty folder of the session's own.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.session.dir.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// A program as a user runs it whose shell has evaluated `lighter env`.
    fn with_docker_host(&self, run: Run) -> Run {
        self.session.dress(run).env("DOCKER_HOST", &self.docker_host)
    }

    /// What the engine holds, but for images without a name and the builder's cache: one line each.
    fn holdings(&self) -> Result<Vec<String>> {
        let lists: [&[&str]; 4] = [
            &["ps", "-a", "--no-trunc", "--format", "container {{.ID}} {{.Names}}"],
            &["volume", "ls", "--format", "volume {{.Name}}"],
            &["network", "ls", "--no-trunc", "--format", "network {{.ID}} {{.Name}}"],
            &["image", "ls", "--no-trunc", "--format", "image {{.Repository}}:{{.Tag}} {{.ID}}"],
        ];
        let mut lines = Vec::new();
        for list in lists {
            lines.extend(self.session.out(list)?.lines().map(str::to_owned));
        }
        lines.sort();
        Ok(lines)
    }
}

/// Installs the wanted clients, starts a machine, lets each have its session, and stops the machine whatever happened.
pub fn run(tools: &Tools, wanted: &[String]) -> Result<()> {
    let chosen: Vec<&Client> = CLIENTS.iter().filter(|client| chosen(client.name, wanted)).collect();
    ensure!(
        !chosen.is_empty(),
        "no client is named {wanted:?}; there are {}",
        CLIENTS.iter().map(|client| client.name).collect::<Vec<_>>().join(", ")
    );
    for client in &chosen {
        (client.install)(tools).with_context(|| {
            format!("{} cannot be installed (its first run needs a network, or a cache that is filled)", client.name)
        })?;
    }
    let dir = tempfile::Builder::new().prefix("lt").tempdir_in("/tmp")?;
    let session = software::session(tools, dir.path(), "software", PATIENCE)?;
    let result = sessions(&session, tools, &chosen, wanted);
    // A session that failed half-way may have left the machine running.
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    if result.is_err() {
        software::tails(&session);
    }
    result
}

fn sessions(session: &Session, tools: &Tools, chosen: &[&Client], wanted: &[String]) -> Result<()> {
    let started = std::time::Instant::now();
    session.start().context("lighter start")?;
    println!("clients: started in {:.1} s", started.elapsed().as_secs_f64());
    session.import_busybox()?;
    let env: serde_json::Value = serde_json::from_slice(&session.lighter(["env", "--json"]).ok()?.stdout)?;
    let docker_host = env["DOCKER_HOST"].as_str().context("`lighter env` names no DOCKER_HOST")?.to_owned();
    let stage = Stage { session, tools, docker_host };
    let (mut passed, mut failed) = (0, Vec::new());
    for client in chosen {
        let mut report = Report::new(client.name, checks(client.name, wanted));
        one(&stage, client, &mut report);
        passed += report.passed;
        failed.extend(report.failed);
    }
    println!("clients: {passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty(), "{} checks failed: {}", failed.len(), failed.join(", "));
    ensure!(passed > 0, "no check is named {wanted:?}");
    Ok(())
}

/// One client's session; then nothing of it may be left in the engine.
fn one(stage: &Stage, client: &Client, report: &mut Report) {
    let before = stage.holdings();
    if let Err(error) = (client.run)(stage, report) {
        report.failed("session", &format!("{error:#}"));
    }
    let clean = || same("what the engine holds", stage.holdings()?, before?);
    // Containers of a session that broke off would only be reported twice.
    if report.failed.is_empty() {
        report.check("leaves_nothing_behind", clean);
    }
    drop(stage.session.sweep());
}

fn chosen(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|word| name.contains(word.split('/').next().unwrap_or_default()))
}

/// The words that select checks of this client; none means all.
fn checks(name: &str, wanted: &[String]) -> Vec<String> {
    if wanted.is_empty() {
        let left_out = BY_NAME.iter().filter(|(client, _)| *client == name).flat_map(|(_, checks)| *checks);
        return left_out.map(|check| format!("-{check}")).collect();
    }
    let of_client = |word: &&String| chosen(name, std::slice::from_ref(*word));
    let words: Vec<Option<&str>> =
        wanted.iter().filter(of_client).map(|word| word.split_once('/').map(|(_, check)| check)).collect();
    if words.iter().any(Option::is_none) {
        Vec::new()
    } else {
        words.into_iter().flatten().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was renamed would run in every run again, and nobody would see why that takes longer.
    #[test]
    fn checks_that_run_by_name_exist() {
        let mut sources = String::new();
        for folder in [install::sources(), crate::products::root().join("tests/src/clients")] {
            let found = Run::new("find").args([folder]).args(["-type", "f", "-size", "-200k"]).ok().unwrap().text();
            let files = found.lines().filter(|path| !path.ends_with("clients/mod.rs"));
            files.for_each(|path| sources.push_str(&std::fs::read_to_string(path).unwrap_or_default()));
        }
        for (client, names) in BY_NAME {
            assert!(CLIENTS.iter().any(|known| known.name == *client), "{client}");
            let strange: Vec<_> = names.iter().filter(|name| !sources.contains(**name)).collect();
            assert!(strange.is_empty(), "no check of {client} is named {strange:?}");
        }
    }
}
