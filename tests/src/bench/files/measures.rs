//! What is measured, and in which order: every measure once through each server in turn, each round beginning with another one, so
//! that what else runs on the host disturbs all of them alike. Called by `run`.

use std::path::Path;

use anyhow::{Context, Result};

use super::guest::Worker;
use super::servers::Server;

/// A measure: what the worker calls it, and how the table does.
pub struct Measure {
    /// As `lighter-meter files` has it.
    pub word: &'static str,
    /// As a person reads it.
    pub name: &'static str,
    /// What the goal is about.
    pub kind: Kind,
}

/// What a measure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names and attributes.
    Metadata,
    /// Single pages.
    Pages,
    /// Megabytes in a row: a rate counts.
    Stream,
    /// The host's disk, which is the same for all.
    Disk,
}

const fn measure(word: &'static str, name: &'static str, kind: Kind) -> Measure {
    Measure { word, name, kind }
}

/// In their order: some need what others have left.
pub const ALL: [Measure; 12] = [
    measure("status-cold", "git-status-like, cold", Kind::Metadata),
    measure("status-warm", "git-status-like, within a second", Kind::Metadata),
    measure("install", "npm-install-like, 2000 files", Kind::Metadata),
    measure("uninstall", "removing them", Kind::Metadata),
    measure("stats", "lstat of 1000 names, 5 times", Kind::Metadata),
    measure("absent", "1000 absent names, 5 times", Kind::Metadata),
    measure("list", "list of one long folder", Kind::Metadata),
    measure("read-places", "1000 random reads of 4 KiB", Kind::Pages),
    measure("write-places", "1000 random writes of 4 KiB", Kind::Pages),
    measure("write-stream", "stream write, 128 MiB", Kind::Stream),
    measure("sync-stream", "its fsync", Kind::Disk),
    measure("read-stream", "stream read, 128 MiB", Kind::Stream),
];

/// What one run showed.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Wall time in the guest.
    pub seconds: f64,
    /// Processor time of the server.
    pub spent: f64,
    /// Requests for which the guest waited, if the server counts.
    pub round_trips: Option<f64>,
}

/// One round of one measure: a run of each server, and the seconds on the host itself.
pub struct Round {
    /// In the order of the servers.
    pub runs: Vec<Run>,
    /// The program on the host, without a guest.
    pub host: f64,
}

/// By measure: `rounds` rounds of all.
pub fn run(servers: &mut [Server], guest: &mut Worker, host: &mut Worker, rounds: u32) -> Result<Vec<Vec<Round>>> {
    let mut all: Vec<Vec<Round>> = ALL.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds as usize {
        eprintln!("round {} of {rounds}", round + 1);
        for rounds in &mut all {
            rounds.push(Round { runs: Vec::new(), host: 0.0 });
        }
        // Measures that belong together follow each other on the same folder.
        for group in GROUPS {
            let mut runs: Vec<Vec<Run>> = servers.iter().map(|_| Vec::new()).collect();
            for step in 0..servers.len() {
                let which = (round + step) % servers.len();
                for measure in &ALL[group.0..group.1] {
                    runs[which].push(one(&mut servers[which], guest, measure)?);
                }
            }
            for (at, measure) in ALL.iter().enumerate().take(group.1).skip(group.0) {
                let last = all[at].last_mut().context("a round")?;
                last.runs = runs.iter().map(|runs| runs[at - group.0]).collect();
                last.host = host.seconds(measure.word, &servers[0].folder.with_file_name("host"))?;
            }
        }
    }
    Ok(all)
}

/// First and last but one of those that belong together.
const GROUPS: [(usize, usize); 7] = [(0, 2), (2, 4), (4, 5), (5, 6), (6, 7), (7, 9), (9, 12)];

fn one(server: &mut Server, guest: &mut Worker, measure: &Measure) -> Result<Run> {
    let (spent, asked) = (server.processor_seconds()?, server.round_trips()?);
    let seconds = guest.seconds(measure.word, &Path::new("/").join(server.name));
    let seconds = seconds.with_context(|| format!("{} through {}", measure.name, server.name))?;
    let round_trips = server.round_trips()?.zip(asked).map(|(after, before)| after - before);
    Ok(Run { seconds, spent: server.processor_seconds()? - spent, round_trips })
}
