//! `lighter list`: every profile and how it is.

use std::process::ExitCode;

use clap::Args;

use super::paint::Paint;
use super::status::{self, Shown};
use super::{Target, output};

#[derive(Debug, Args)]
pub struct List {
    /// As JSON, one object per line.
    #[arg(short, long)]
    json: bool,
}

impl List {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let mut all = Vec::new();
        for profile in target.home.profiles()? {
            all.push(status::shown(&Target { home: target.home.clone(), profile })?);
        }
        if self.json {
            let lines: anyhow::Result<String> = all.iter().map(status::json).collect();
            return output::data(&lines?);
        }
        if all.is_empty() {
            output::talk("There is no machine yet: `lighter start` makes one");
            return Ok(ExitCode::SUCCESS);
        }
        output::data(&table(&all, Paint::stdout()))
    }
}

fn table(all: &[Shown], paint: Paint) -> String {
    let titles = ["PROFILE", "STATUS", "ENGINE", "CPUS", "MEMORY", "DISK", "DOCKER HOST"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for shown in all {
        let unknown = || "-".to_owned();
        let status = &shown.status;
        rows.push(vec![
            status.profile.clone(),
            status.state.name().to_owned(),
            status.engine.clone().unwrap_or_else(unknown),
            status.cpus.map_or_else(unknown, |cpus| cpus.to_string()),
            status.memory_bytes.map_or_else(unknown, output::size),
            shown.disk_bytes.map_or_else(unknown, output::size),
            status.docker_host.clone(),
        ]);
    }
    let mut text = String::new();
    for (line, shown) in output::columns(&rows).iter().zip(std::iter::once(None).chain(all.iter().map(Some))) {
        // Coloured only once it stands in its column.
        let state = shown.map(|shown| (shown.status.state, format!("   {}   ", shown.status.state.name())));
        text.push_str(&match state {
            Some((state, word)) => line.replacen(&word, &status::painted(state, &word, paint), 1),
            None => line.clone(),
        });
        text.push('\n');
    }
    text
}
