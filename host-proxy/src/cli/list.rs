//! `lighter list`: all profiles, as a table or as one JSON object per line.

use std::process::ExitCode;

use clap::Args;

use super::{Target, output, status};
use crate::control::Status;

#[derive(Debug, Args)]
pub struct List {
    /// As JSON, one object per line.
    #[arg(short, long)]
    json: bool,
}

impl List {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let mut states = Vec::new();
        for profile in target.home.profiles()? {
            states.push(status::of(&Target { home: target.home.clone(), profile })?);
        }
        if self.json {
            let mut text = String::new();
            for state in &states {
                text.push_str(&serde_json::to_string(state)?);
                text.push('\n');
            }
            return output::data(&text);
        }
        if states.is_empty() {
            output::talk("There is no machine yet: `lighter start` makes one");
        }
        output::data(&table(&states))
    }
}

fn table(states: &[Status]) -> String {
    let mut rows = vec![["PROFILE", "STATUS", "ENGINE", "CPUS", "MEMORY", "DOCKER HOST"].map(str::to_owned)];
    for state in states {
        let unknown = || "-".to_owned();
        rows.push([
            state.profile.clone(),
            state.state.name().to_owned(),
            state.engine.clone().unwrap_or_else(unknown),
            state.cpus.map_or_else(unknown, |cpus| cpus.to_string()),
            state.memory_bytes.map_or_else(unknown, output::size),
            state.docker_host.clone(),
        ]);
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + 3;
            line.push_str(&format!("{cell:<width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
