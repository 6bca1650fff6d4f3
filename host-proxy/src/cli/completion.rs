//! `lighter completion SHELL`: a script for the shell to load. At each Tab it asks this program, which thus can complete the
//! names of profiles; that question is answered here too.

use std::ffi::OsStr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::env::{CompleteEnv, EnvCompleter};
use clap_complete::{CompletionCandidate, env};

use super::{Cli, output};
use crate::home::Home;

/// The variable by which the script asks.
const VARIABLE: &str = "LIGHTER_COMPLETE";

#[derive(Debug, Args)]
pub struct Completion {
    /// For which shell.
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

impl Completion {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let completer: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &env::Bash,
            Shell::Zsh => &env::Zsh,
            Shell::Fish => &env::Fish,
            Shell::Powershell => &env::Powershell,
            Shell::Elvish => &env::Elvish,
        };
        let program = std::env::current_exe().context("Cannot find this program's own file: reinstall lighter")?;
        // By its name, so that an upgrade elsewhere in PATH is found; a program outside of PATH by its place.
        let program = match named_in_path(&program) {
            true => "lighter".to_owned(),
            false => program.display().to_string(),
        };
        let mut script = Vec::new();
        completer.write_registration(VARIABLE, "lighter", "lighter", &program, &mut script)?;
        output::data(&String::from_utf8_lossy(&script))
    }
}

/// Whether `lighter` in PATH is this program.
fn named_in_path(program: &std::path::Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|dir| dir.join("lighter")).find(|file| file.is_file());
    first.and_then(|file| file.canonicalize().ok()) == program.canonicalize().ok()
}

/// Answers the script's question, if this is one; then there is nothing else to do.
pub fn answered() -> bool {
    // Errors have no one to be told to but the shell's line editor.
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).try_complete(std::env::args_os(), None).unwrap_or(true)
}

/// Profiles whose names begin like `current`.
pub fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let profiles = Home::from_env().and_then(|home| home.profiles()).unwrap_or_default();
    let names = profiles.iter().map(|profile| profile.name().to_string()).filter(|name| name.starts_with(current));
    names.map(CompletionCandidate::new).collect()
}
