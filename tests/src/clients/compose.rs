//! `docker compose` as its own plugin: a stack with a health check, a dependency on health, names that resolve, a volume and a
//! profile, brought up, followed, scaled, restarted and taken down; and a job that builds its image and ends by itself.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::report::Report;
use super::{Stage, install};
use crate::docker::terminal::Terminal;
use crate::docker::{Session, same};
use crate::process::Run;
use crate::rig::tools::Tools;

pub(super) fn install(tools: &Tools) -> Result<()> {
    plugin(&tools.cache).map(drop)
}

/// The plugin, brought into the cache.
pub(crate) fn plugin(cache: &Path) -> Result<PathBuf> {
    install::debian(cache, "docker-compose", "docker-compose")
}

/// Makes `docker compose` a command of this session's docker CLI.
pub(crate) fn plug_in(s: &Session) -> Result<()> {
    let plugins = s.dir.join("docker/cli-plugins");
    fs::create_dir_all(&plugins)?;
    symlink(plugin(&s.cache)?, plugins.join("docker-compose")).context("put the plugin in its place")
}

pub(super) fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    plug_in(stage.session)?;
    let stack = Project { session: stage.session, file: file("compose.yaml")? };
    let job = Project { session: stage.session, file: file("job.yaml")? };
    report.check("up_waits_for_health_and_names_resolve", || up(&stack));
    report.check("a_profile_keeps_its_service_out", || profile(&stack));
    report.check("logs_follow_until_ctrl_c", || logs(&stack));
    report.check("exec_takes_standard_input", || exec(&stack));
    report.check("run_rm_gives_output_and_code", || run_rm(&stack));
    report.check("scale_up_and_down", || scale(&stack));
    report.check("restart_starts_anew", || restart(&stack));
    report.check("up_builds_and_ends_with_a_service_s_code", || job_ends(&job));
    report.check("down_removes_everything", || down(&stack, &job));
    Ok(())
}

fn file(name: &str) -> Result<String> {
    let path = install::sources().join("compose").join(name);
    path.to_str().map(str::to_owned).context("the source tree's path is not UTF-8")
}

/// A compose file in a session.
struct Project<'a> {
    session: &'a Session,
    file: String,
}

impl Project<'_> {
    fn words<'w>(&'w self, args: &[&'w str]) -> Vec<&'w str> {
        [&["compose", "--ansi", "never", "--progress", "plain", "-f", &self.file], args].concat()
    }

    fn compose(&self, args: &[&str]) -> Run {
        self.session.docker(self.words(args)).within(self.session.seconds(120))
    }

    fn out(&self, args: &[&str]) -> Result<String> {
        Ok(self.compose(args).ok()?.text())
    }

    /// What `inspect` says of each container of a service.
    fn inspect(&self, service: &str, format: &str) -> Result<Vec<String>> {
        let ids = self.out(&["ps", "-q", service])?;
        let words = ["inspect", "-f", format].into_iter().chain(ids.split_whitespace());
        Ok(self.session.docker(words).ok()?.text().lines().map(str::to_owned).collect())
    }
}

fn up(p: &Project) -> Result<()> {
    p.out(&["up", "-d"])?;
    same("health", p.inspect("store", "{{.State.Health.Status}}")?, vec!["healthy".to_owned()])?;
    let mut running: Vec<String> =
        p.out(&["ps", "--format", "{{.Service}} {{.State}}"])?.lines().map(str::to_owned).collect();
    running.sort();
    same("ps", running.join(", "), "crew running, store running, web running".to_owned())?;
    // web has asked for the page by the service's name before it says anything.
    let mut logs = Terminal::docker(p.session, &p.words(&["logs", "-f", "--no-log-prefix", "web"]))?;
    logs.expect("from the store")
}

fn profile(p: &Project) -> Result<()> {
    ensure!(!p.out(&["ps", "-a", "--format", "{{.Service}}"])?.contains("clerk"), "the profile's service was started");
    let services = |args: &[&str]| -> Result<bool> { Ok(p.out(args)?.lines().any(|name| name == "clerk")) };
    ensure!(services(&["--profile", "office", "config", "--services"])?, "the profile does not bring its service");
    ensure!(!services(&["config", "--services"])?, "the service is there without its profile");
    Ok(())
}

fn logs(p: &Project) -> Result<()> {
    let mut terminal = Terminal::docker(p.session, &p.words(&["logs", "-f", "--tail", "1", "web"]))?;
    for _ in 0..2 {
        terminal.expect("turn")?;
    }
    terminal.type_in("\x03")?;
    same("exit code", terminal.exit_code()?, Some(130))?;
    same("web goes on", p.inspect("web", "{{.State.Running}}")?, vec!["true".to_owned()])
}

fn exec(p: &Project) -> Result<()> {
    let words = ["exec", "-T", "store", "sh", "-c", "cat > /shelf/box; wc -c < /shelf/box; exit 9"];
    let done = p.compose(&words).stdin(Cursor::new(vec![b'x'; 1_000_000])).finish()?;
    same("bytes and code", (done.text(), done.status.code()), ("1000000".to_owned(), Some(9)))
}

fn run_rm(p: &Project) -> Result<()> {
    let done = p.compose(&["run", "--rm", "-T", "clerk"]).finish()?;
    let want = "from the store\nfrom the store".to_owned();
    same("pages and code", (done.text(), done.status.code()), (want, Some(6)))?;
    same("containers of it", p.out(&["ps", "-aq", "clerk"]).unwrap_or_default(), String::new())
}

fn scale(p: &Project) -> Result<()> {
    let count = |p: &Project| Ok::<usize, anyhow::Error>(p.inspect("crew", "{{.Id}}")?.len());
    p.out(&["up", "-d", "--no-recreate", "--scale", "crew=3", "crew"])?;
    same("containers", count(p)?, 3)?;
    let names = p.out(&["exec", "-T", "store", "nslookup", "-type=a", "crew"])?;
    same("addresses by the service's name", names.matches("Name:").count(), 3)?;
    p.out(&["up", "-d", "--no-recreate", "--scale", "crew=1", "crew"])?;
    same("containers after", count(p)?, 1)
}

fn restart(p: &Project) -> Result<()> {
    let started = |p: &Project| p.inspect("crew", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}");
    let before = started(p)?;
    p.out(&["restart", "crew"])?;
    let after = started(p)?;
    let words = |lines: &[String]| lines.join(" ").split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (words(&before), words(&after));
    same("the container", &after[0], &before[0])?;
    ensure!(after[1] != before[1] && after[2] == "true", "not restarted: {before:?}, {after:?}");
    Ok(())
}

fn job_ends(p: &Project) -> Result<()> {
    let done = p.compose(&["up", "--build", "--no-color", "--exit-code-from", "job"]).finish()?;
    ensure!(done.text().contains("built and argued"), "up said {} {}", done.text(), done.talk());
    same("exit code", done.status.code(), Some(7))
}

fn down(stack: &Project, job: &Project) -> Result<()> {
    stack.out(&["--profile", "office", "down", "-v"])?;
    job.out(&["down", "-v", "--rmi", "local"])?;
    same("projects", stack.out(&["ls", "-a", "-q"])?, String::new())
}
