//! The part `pipes` of the suite `windows`: the product's own daemon under Wine, its machine replaced by the stand-in engine
//! (the example `proxy_rig`), and docker clients of Windows at its pipe `\\.\pipe\lighter_test`: bollard, one of our own, and
//! the docker CLI (`windows_pipes_docker`). The suite calls [`run`].

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::windows_pipes_docker;
use crate::process::{self, Run};
use crate::products::{cargo, root, target_dir};
use crate::rig::windows_docker;
use crate::rig::wine::{TARGET, Wine};

/// The profile, after which the pipe is called.
const PROFILE: &str = "test";
const PIPE: &str = r"\\.\pipe\lighter_test";
const DOCKER_HOST: &str = "npipe:////./pipe/lighter_test";
const ENGINE: &str = r"\\.\pipe\lighter_test_engine";
/// What the clients may take, and each verb.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a daemon may take to end that was told to.
const ENDING: Duration = Duration::from_secs(60);

/// A child that is killed when it is dropped.
struct Server(Child);

impl Server {
    /// Starts it; what it says goes to the file `said`.
    fn start(run: Run, said: &Path) -> Result<Self> {
        let line = run.line();
        let mut command = run.into_command();
        let said = File::create(said)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        Ok(Self(command.spawn().with_context(|| format!("cannot run `{line}`"))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Builds daemon and clients, and lets them talk.
pub(super) fn run(wine: &Wine) -> Result<()> {
    let [rig, clients, docker] = [rig()?, clients()?, windows_docker::built(&crate::image::cache()?)?];
    let dir = tempfile::Builder::new().prefix("lp").tempdir_in("/tmp")?;
    let said = ["engine", "daemon"].map(|name| dir.path().join(name));
    let result = talk(wine, [&rig, &clients, &docker], dir.path(), &said);
    if result.is_err() {
        for said in said {
            println!("windows: pipes: {} said:\n{}", said.display(), fs::read_to_string(&said).unwrap_or_default());
        }
    }
    result
}

fn talk(wine: &Wine, [rig, clients, docker]: [&Path; 3], dir: &Path, said: &[std::path::PathBuf; 2]) -> Result<()> {
    let _engine = Server::start(wine.run([rig.as_os_str()]).args(["engine", ENGINE]), &said[0])?;
    // As a Windows program spells a place of this host.
    let home = format!("Z:{}", dir.join("home").display()).replace('/', r"\");
    let lighter = |words: &[&str]| {
        let run =
            wine.run([rig.as_os_str()]).args(words).args(["--profile", PROFILE]).env("LIGHTER_RIG_ENGINE", ENGINE);
        run.env("LIGHTER_HOME", &home).env("DOCKER_CONFIG", &home).within(PATIENCE)
    };
    let start = ["start", "--foreground", "--activate=false", "--cpus", "1", "--memory", "1", "--disk", "1"];
    let mut daemon = Server::start(lighter(&start), &said[1])?;
    // Not by pipes: what Wine starts beside the first program holds that one's output open.
    let told = dir.join("clients");
    let mut client = Server::start(wine.run([clients.as_os_str()]).args([PIPE]), &told)?;
    let ended = process::wait(&mut client.0, PATIENCE).context("the clients of the pipe");
    let told = fs::read_to_string(&told)?;
    told.lines().for_each(|line| println!("windows: pipes: {line}"));
    let ended = ended?;
    ensure!(ended.success(), "clients of the pipe failed ({ended})");
    ensure!(told.lines().count() > 1, "no client checked anything");
    windows_pipes_docker::check(wine, docker, DOCKER_HOST, dir)?;
    let status: serde_json::Value = serde_json::from_slice(&lighter(&["status", "--json"]).ok()?.stdout)?;
    ensure!(status["state"] == "running", "after the clients the machine is {status}");
    lighter(&["stop", "--quit"]).ok().context("stop")?;
    let ended = process::wait(&mut daemon.0, ENDING).context("the daemon was told to stop")?;
    ensure!(ended.success(), "the daemon ended with {ended}");
    println!("windows: pipes: the daemon says that it runs, and ends when it is told to");
    Ok(())
}

fn rig() -> Result<std::path::PathBuf> {
    cargo(["build", "--quiet", "--locked", "--target", TARGET, "-p", "lighter", "--example", "proxy_rig"]).show()?;
    built(&target_dir()?, "examples/proxy_rig.exe")
}

fn clients() -> Result<std::path::PathBuf> {
    let (manifest, target) = (root().join("tests/clients/pipes/Cargo.toml"), target_dir()?.join("clients"));
    let build = cargo(["build", "--quiet", "--locked", "--target", TARGET, "--manifest-path"]).args([&manifest]);
    build.args(["--target-dir"]).args([&target]).show()?;
    built(&target, "lighter-pipe-clients.exe")
}

fn built(target: &Path, program: &str) -> Result<std::path::PathBuf> {
    let program = target.join(TARGET).join("debug").join(program);
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(program)
}
