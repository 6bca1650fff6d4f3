//! `lighter completion SHELL`: a script for the shell to load.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

#[derive(Debug, Args)]
pub struct Completion {
    /// For which shell.
    shell: Shell,
}

impl Completion {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lighter", &mut script);
        output::data(&String::from_utf8_lossy(&script))
    }
}
