//! What is measured, and in which order: every measure once for each stack in turn, each round beginning with another stack,
//! so that what else runs on the host disturbs all of them alike. Called by `inside`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::servers::Arrived;
use super::stacks::{MTUS, NAMES, OURS, Stacks};
use super::{clients, counters, world};
use crate::bench::median;

/// One run of a measure.
const RUN: Duration = Duration::from_millis(1000);

/// One figure of each stack, from runs that followed each other; not a number where a run broke.
pub type Turn = [f64; 3];
/// Turns by what was measured.
pub type Turns = BTreeMap<String, Vec<Turn>>;

/// A measure, at one MTU (an index of [`MTUS`]).
#[derive(Debug, Clone, Copy)]
enum Measure {
    Bulk { mtu: usize, up: bool, flows: usize },
    Visits,
    Requests,
    Datagrams,
}

impl Measure {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for mtu in 0..MTUS.len() {
            for up in [true, false] {
                all.extend([1, 4].map(|flows| Self::Bulk { mtu, up, flows }));
            }
        }
        all.extend([Self::Visits, Self::Requests, Self::Datagrams]);
        all
    }

    fn name(self) -> String {
        match self {
            Self::Bulk { mtu, up, flows } => {
                let way = if up { "guest to server" } else { "server to guest" };
                format!("bulk {way}, MTU {}, {flows} flow{}", MTUS[mtu], if flows == 1 { "" } else { "s" })
            }
            Self::Visits => "visit: connect, ask, close".to_owned(),
            Self::Requests => "request on a connection".to_owned(),
            Self::Datagrams => "datagrams at 10 000/s".to_owned(),
        }
    }

    /// One run; figures by name.
    fn run(self, stacks: &Stacks, which: usize, arrived: &Arrived) -> Result<Vec<(String, f64)>> {
        let mtu = if let Self::Bulk { mtu, .. } = self { mtu } else { 0 };
        let stack = &stacks[mtu][which];
        let before = counters::processor_seconds(stack.pid)?;
        let named = |what: &str, figure| (format!("{}: {what}", self.name()), figure);
        let spent = || anyhow::Ok(counters::processor_seconds(stack.pid)? - before);
        Ok(match self {
            Self::Bulk { up, flows, .. } => {
                let moved = world::within(&stack.guest, || match up {
                    true => clients::up(arrived, flows, RUN),
                    false => clients::down(flows, RUN),
                })?;
                let (mega, giga) = (moved.bytes as f64 / 1e6, moved.bytes as f64 / 1e9);
                vec![named("MB/s", mega / moved.seconds), named("CPU s/GB", spent()? / giga)]
            }
            Self::Visits | Self::Requests => {
                let work = if let Self::Visits = self { clients::visits } else { clients::requests };
                let samples = world::within(&stack.guest, || work(RUN))?;
                let p50 = median(&samples.iter().map(|nanos| *nanos as f64 / 1e3).collect::<Vec<_>>());
                let each = spent()? * 1e6 / samples.len() as f64;
                vec![
                    named("p50 us", p50.context("no visit was made")?),
                    named("per second", samples.len() as f64 / RUN.as_secs_f64()),
                    named("CPU us each", each),
                ]
            }
            Self::Datagrams => {
                let [there, back] = world::within(&stack.guest, || clients::datagrams(arrived, RUN))?;
                vec![named("lost out, %", there * 100.0), named("lost back, %", back * 100.0)]
            }
        })
    }
}

/// `pairs` turns of every measure whose name has one of the `words`.
pub fn run(stacks: &Stacks, arrived: &Arrived, pairs: u32, words: &[String]) -> Result<Turns> {
    let mut all = Measure::all();
    all.retain(|measure| words.is_empty() || words.iter().any(|word| measure.name().contains(word.as_str())));
    ensure!(!all.is_empty(), "no measure has such a name");
    let mut turns = Turns::new();
    for pair in 0..pairs as usize {
        eprintln!("turn {} of {pairs}", pair + 1);
        for measure in &all {
            let mut rows: BTreeMap<String, Turn> = BTreeMap::new();
            for step in 0..NAMES.len() {
                let which = (pair + step) % NAMES.len();
                let figures = measure.run(stacks, which, arrived);
                match figures.with_context(|| format!("{} through {}", measure.name(), NAMES[which])) {
                    Ok(figures) => {
                        for (name, figure) in figures {
                            rows.entry(name).or_insert([f64::NAN; 3])[which] = figure;
                        }
                    }
                    // What another stack does not carry is its own affair, and has no figure.
                    Err(error) if which != OURS => eprintln!("{error:#}"),
                    Err(error) => return Err(error),
                }
            }
            for (name, row) in rows {
                turns.entry(name).or_default().push(row);
            }
        }
    }
    Ok(turns)
}
