//! `cargo xtask bench`: measurements as a table and as JSON. Times are medians of runs in one session; ratios come from
//! alternating pairs; counters stand beside times, because counters do not depend on how busy the host is.

mod boot;
mod exit_reasons;
pub mod files;
pub mod microvm;
pub mod net;
mod own_start;
pub mod private_memory;
pub mod proxy;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::packages;
use crate::rig::tools::Tools;

/// How often things are measured.
#[derive(clap::Args, Debug)]
pub struct Often {
    /// Runs of each; the table shows medians. 3 if not said, and of files 9.
    #[arg(long)]
    rounds: Option<u32>,
    /// Of net: alternating runs of each measure.
    #[arg(long, default_value_t = 9)]
    pairs: u32,
    /// Of net and files: three of them.
    #[arg(long, conflicts_with_all = ["pairs", "rounds"])]
    quick: bool,
}

/// Runs the named benches and writes all their figures to `json`, if asked. Words behind `net` select measures of it.
pub fn run(names: &[String], often: &Often, files: &files::Asked, json: Option<&Path>) -> Result<()> {
    let (rounds, pairs) = (often.rounds.unwrap_or(3), if often.quick { 3 } else { often.pairs });
    packages::ensure(packages::RUN)?;
    let mut figures = Map::new();
    let mut names = names.iter();
    while let Some(name) = names.next() {
        let found = match name.as_str() {
            "boot" => boot::run(&Tools::prepare()?, rounds)?,
            "microvm" => microvm::compare(&Tools::prepare()?, rounds)?,
            "proxy" => proxy::run(rounds)?,
            "net" => net::run(pairs, &names.by_ref().cloned().collect::<Vec<_>>())?,
            "files" => files::run(often.rounds.unwrap_or(if often.quick { 3 } else { 9 }), files)?,
            "proxy-software" => proxy::software::run(&Tools::prepare()?, rounds)?,
            _ => bail!(
                "no bench is named `{name}`; there are boot, its part microvm, net, files, proxy and proxy-software"
            ),
        };
        figures.insert(name.clone(), found);
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&Value::Object(figures))?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The middle value; the lower of the two middle ones where there are two, so that it is a value that was seen.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// The lower quartile, the median and the upper quartile, each a value that was seen; not numbers where nothing was.
pub fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return [f64::NAN; 3] };
    [last / 4, last / 2, last - last / 4].map(|at| sorted[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_that_were_seen() {
        assert_eq!(quartiles([5.0, 1.0, 4.0, 2.0, 3.0].into_iter()), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles([7.0].into_iter()), [7.0; 3]);
        assert!(quartiles(std::iter::empty())[1].is_nan());
    }
}
