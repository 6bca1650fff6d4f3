//! `bench boot`: a start of the machine, stage by stage, under the software engine on this host; then PID 1 under KVM beside
//! QEMU's own microvm in the emulated machine (see `microvm`).

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{median, microvm, own_start, private_memory};
use crate::docker::Session;
use crate::rig::software;
use crate::rig::tools::Tools;

/// By the guest's own clock: the engine is about to be started, and it answers.
const GUEST_DATA: &str = "guest's boot → data";
const GUEST_DOCKERD: &str = "guest's boot → dockerd";
/// The last stage: the API answered on the host's socket.
const ANSWERS: &str = "exec of the daemon → ping";

/// Figures of one start, by name, in milliseconds unless the name says otherwise.
pub(super) type Figures = BTreeMap<String, f64>;

pub(super) fn run(tools: &Tools, rounds: u32) -> Result<Value> {
    let mut starts = Vec::new();
    for round in 0..rounds {
        eprintln!("software engine, start {} of {rounds}", round + 1);
        starts.push(one_start(tools, "software", 1)?);
    }
    let table = medians(&starts);
    println!("\nsoftware engine, medians of {rounds} cold starts (milliseconds)");
    show(&table);
    let compared = microvm::compare(tools, rounds)?;
    Ok(json!({ "software": { "medians": table, "runs": starts }, "kvm": compared }))
}

pub(super) fn show(table: &Figures) {
    for (name, value) in table {
        println!("  {name:<52} {value:>10.0}");
    }
}

/// One start on an empty data disk, the first container, and the daemon's memory. Deadlines are stretched by `patience`.
pub(super) fn one_start(tools: &Tools, engine: &'static str, patience: u32) -> Result<Figures> {
    let dir = tempfile::Builder::new().prefix("lb").tempdir_in("/tmp")?;
    let session = software::session(tools, dir.path(), engine, patience)?;
    let result = measure(&session);
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    if result.is_err() {
        software::tails(&session);
    }
    result
}

fn measure(session: &Session) -> Result<Figures> {
    let timeline = session.dir.join("timeline.json");
    let started = Instant::now();
    let start =
        session.lighter(["start", "--engine", session.engine, "--memory", "2", "--disk", "20", "--cpus", session.cpus]);
    start.env("LIGHTER_TIMELINE", &timeline).within(session.seconds(120)).ok()?;
    let mut figures = Figures::new();
    figures.insert("1 `lighter start` returns".into(), millis(started));
    let returned = millis(started);
    let run = Instant::now();
    let first =
        session.docker(["run", "--rm", "lighter/demo"]).ok()?.first_byte.context("the container said nothing")?;
    let first = first.as_secs_f64() * 1000.0;
    figures.insert("2 `docker run` of the demo image → its first byte".into(), first);
    figures.insert("2 `docker run` of the demo image, all of it".into(), millis(run));
    figures.insert("3 from nothing to the first container's first byte".into(), returned + first);
    let status: Value = serde_json::from_slice(&session.lighter(["status", "--json"]).ok()?.stdout)?;
    let quick = Instant::now();
    session.lighter(["status"]).ok()?;
    figures.insert("4 `lighter status`".into(), millis(quick));
    let pid = status["pid"].as_u64().context("status names no pid")?;
    figures.insert("5 daemon's private memory (KiB)".into(), private_memory::kib(pid)? as f64);
    let timeline: Value = serde_json::from_slice(&std::fs::read(&timeline).context("the daemon wrote no timeline")?)?;
    let own = own_start::milliseconds(session)?;
    figures.insert("6 dockerd by itself, warm, in the same guest".into(), own);
    for stage in timeline["stages"].as_array().into_iter().flatten() {
        let name = stage["name"].as_str().unwrap_or_default();
        if let Some(at) = stage["host_ms"].as_f64() {
            figures.insert(format!("exec of the daemon → {name}"), at);
        }
        if let Some(at) = stage["guest_ms"].as_f64() {
            figures.insert(format!("guest's boot → {name}"), at);
        }
    }
    let at = |name: &str| figures.get(name).copied().with_context(|| format!("the timeline has no {name}"));
    let (cold, answers) = (at(GUEST_DOCKERD)? - at(GUEST_DATA)?, at(ANSWERS)?);
    figures.insert("7 dockerd as lighter starts it, cold, in the guest".into(), cold);
    figures.insert("8 whole start over dockerd by itself (percent)".into(), answers / own * 100.0);
    Ok(figures)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

pub(super) fn medians(runs: &[Figures]) -> Figures {
    let names = runs.iter().flat_map(BTreeMap::keys);
    names
        .filter_map(|name| {
            let values: Vec<f64> = runs.iter().filter_map(|run| run.get(name).copied()).collect();
            Some((name.clone(), median(&values)?))
        })
        .collect()
}
