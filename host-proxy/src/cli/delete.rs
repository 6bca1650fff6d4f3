//! `lighter delete`: the machine, its disk and its docker context, after asking.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::progress::Progress;
use super::{Target, autostart, block_on, output, stop};
use crate::lock::{self, Lock};

#[derive(Debug, Args)]
pub struct Delete {
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
}

impl Delete {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let profile = &target.profile;
        if !profile.exists() {
            give_back(target);
            output::talk(&format!("There is no profile `{}`", profile.name()));
            return Ok(ExitCode::SUCCESS);
        }
        if !self.force && !confirmed(target)? {
            output::talk("Nothing was deleted");
            return Ok(ExitCode::FAILURE);
        }
        profile.prepare()?;
        let turn = lock(&profile.start_lock())?;
        block_on(async { stop::force(target, true, &mut Progress::new()).await })?;
        let lock = lock(&profile.daemon_lock())?;
        autostart::forget(target);
        give_back(target);
        profile.tidy();
        std::fs::remove_dir_all(profile.dir()).with_context(|| format!("Cannot remove {}", profile.dir().display()))?;
        drop((lock, turn));
        output::talk(&format!("Deleted profile `{}`", profile.name()));
        Ok(ExitCode::SUCCESS)
    }
}

fn lock(path: &std::path::Path) -> anyhow::Result<Lock> {
    let lock = Lock::acquire(path, Duration::from_secs(20)).with_context(|| lock::refused(path))?;
    lock.context("Another `lighter` is busy with this profile: try again when it has finished")
}

/// What docker tools were led by: the context, and the standard socket if it was claimed.
fn give_back(target: &Target) {
    if let Err(error) = crate::context::Context::of(&target.profile).and_then(|context| context.remove()) {
        output::talk(&format!("warning: {:#}", anyhow::Error::new(error)));
    }
    if let Err(error) = super::context::release(target) {
        output::talk(&format!("warning: {error:#}"));
    }
}

fn confirmed(target: &Target) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("Nobody is there to ask: `lighter delete --force` deletes without asking");
    }
    let name = target.profile.name();
    let question = format!("Delete profile `{name}` with all its containers, images and volumes? [y/N] ");
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
