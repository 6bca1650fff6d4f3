//! `cargo xtask bench`: measurements as a table and as JSON. Times are medians of runs in one session; ratios come from
//! alternating pairs; counters stand beside times, because counters do not depend on how busy the host is.

mod boot;
mod exit_reasons;
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

/// Runs the named benches and writes all their figures to `json`, if asked. Words behind `net` select measures of it.
pub fn run(names: &[String], rounds: u32, pairs: u32, json: Option<&Path>) -> Result<()> {
    packages::ensure(packages::RUN)?;
    let mut figures = Map::new();
    let mut names = names.iter();
    while let Some(name) = names.next() {
        let found = match name.as_str() {
            "boot" => boot::run(&Tools::prepare()?, rounds)?,
            "microvm" => microvm::compare(&Tools::prepare()?, rounds)?,
            "proxy" => proxy::run(rounds)?,
            "net" => net::run(pairs, &names.by_ref().cloned().collect::<Vec<_>>())?,
            "proxy-software" => proxy::software::run(&Tools::prepare()?, rounds)?,
            _ => bail!("no bench is named `{name}`; there are boot, its part microvm, net, proxy and proxy-software"),
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
