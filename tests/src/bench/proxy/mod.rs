//! `bench proxy`: what a Docker request and a hijacked stream cost on their way through lighter's daemon, beside the same on
//! a direct connection and through `socat`, in turn, on this host and without a guest.
//!
//! In the measured path: the product's listener and accept loop with its check of the peer, its runtime, the door, the
//! proxy, and one local socket where the product has a vsock stream. Not in it: the vsock device, its rings, the guest's relay
//! and dockerd. The stand-in dockerd answers at once, so that nothing hides what the way costs: a direct GET is two
//! wake-ups, one through any proxy at least four. `proxy-software` measures the whole way with a real dockerd.

mod rig;
pub mod software;
mod syscalls;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub use rig::Rig;

use super::median;
use crate::packages;

/// GETs on a kept connection, and on connections of their own, in one sample.
const KEPT: usize = 3000;
const FRESH: usize = 1000;
/// Bytes of one bulk stream.
const BULK: u64 = 1 << 30;
/// GETs whose system calls are counted.
const COUNTED: usize = 2000;
/// Most system calls of the daemon per GET on a kept connection.
const MOST_CALLS: f64 = 8.0;

/// Figures of one way by name: times in microseconds, throughput in MiB/s.
type Figures = BTreeMap<&'static str, f64>;

/// Runs the comparison, prints it, and fails when a counter is above its limit. Times never fail it.
pub fn run(rounds: u32) -> Result<Value> {
    packages::ensure(packages::PROXY_BENCH)?;
    let rig = Rig::start()?;
    let (_socat, socat) = rig.socat()?;
    let idle_kib = rig.private_kib()?;
    let ways = [("direct", rig.engine.as_path()), ("lighter", rig.lighter.as_path()), ("socat", socat.as_path())];
    let mut runs: Vec<BTreeMap<&str, Figures>> = Vec::new();
    for round in 0..rounds as usize {
        eprintln!("round {} of {rounds}", round + 1);
        let mut run = BTreeMap::new();
        for turn in 0..ways.len() {
            let (name, socket) = ways[(round + turn) % ways.len()];
            run.insert(name, sample(socket).with_context(|| format!("by way of {name}"))?);
        }
        runs.push(run);
    }
    let busy_kib = rig.private_kib()?;
    let table = show(&runs);
    let counters = counters(&rig)?;
    println!("  daemon's private memory: {idle_kib} KiB before, {busy_kib} KiB after");
    let calls = counters["calls_per_get"].as_f64().unwrap_or(f64::MAX);
    ensure!(calls <= MOST_CALLS, "{calls:.1} system calls per GET, the limit is {MOST_CALLS}");
    Ok(json!({ "medians": table, "runs": runs, "counters": counters,
               "private_kib": { "idle": idle_kib, "after": busy_kib } }))
}

fn sample(socket: &Path) -> Result<Figures> {
    let micros = |samples: &[u64], percent| lighter_meter::percentile(samples, percent) as f64 / 1e3;
    let kept = lighter_meter::kept(socket, "/_ping", KEPT)?;
    let fresh = lighter_meter::fresh(socket, "/_ping", FRESH)?;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Ok(Figures::from([
        ("1 GET, connection kept, p50 (us)", micros(&kept, 50)),
        ("2 GET, connection kept, p99 (us)", micros(&kept, 99)),
        ("3 GET, new connection, p50 (us)", micros(&fresh, 50)),
        ("4 GET, new connection, p99 (us)", micros(&fresh, 99)),
        (
            "5 stream to the client (MiB/s)",
            mib(lighter_meter::down(socket, &format!("/stand-in/source/{BULK}"), BULK)?),
        ),
        ("6 stream to the engine (MiB/s)", mib(lighter_meter::up(socket, "/stand-in/sink", BULK)?)),
    ]))
}

/// Prints medians, and medians of the ratios within a round.
fn show(runs: &[BTreeMap<&str, Figures>]) -> Value {
    println!("\nproxy, without a guest, medians of {} rounds; the ratios are the figures", runs.len());
    println!("  {:<34} {:>8} {:>8} {:>8} {:>9} {:>8}", "", "direct", "lighter", "socat", "to direct", "to socat");
    let mut table = serde_json::Map::new();
    for what in runs.iter().flat_map(|run| run["direct"].keys()).collect::<std::collections::BTreeSet<_>>() {
        let of = |way: &str| median(&runs.iter().map(|run| run[way][what]).collect::<Vec<_>>()).unwrap_or_default();
        let ratio = |to: &str| {
            let ratios: Vec<f64> = runs.iter().map(|run| run["lighter"][what] / run[to][what]).collect();
            median(&ratios).unwrap_or_default()
        };
        let (direct, ours, socat) = (of("direct"), of("lighter"), of("socat"));
        let (to_direct, to_socat) = (ratio("direct"), ratio("socat"));
        println!("  {what:<34} {direct:>8.0} {ours:>8.0} {socat:>8.0} {to_direct:>9.2} {to_socat:>8.2}");
        table.insert(
            (*what).to_owned(),
            json!({ "direct": direct, "lighter": ours, "socat": socat, "to_direct": to_direct, "to_socat": to_socat }),
        );
    }
    Value::Object(table)
}

/// System calls per GET and per MiB of a stream, and how often a thread goes to sleep per GET.
fn counters(rig: &Rig) -> Result<Value> {
    let before = rig.sleeps()?;
    drop(lighter_meter::kept(&rig.lighter, "/_ping", COUNTED)?);
    let sleeps = (rig.sleeps()? - before) as f64 / COUNTED as f64;
    let calls = syscalls::count(rig.pid(), || lighter_meter::kept(&rig.lighter, "/_ping", COUNTED))?;
    let per_get: f64 = calls.values().sum::<f64>() / COUNTED as f64;
    let list: Vec<String> = calls
        .iter()
        .filter(|(_, calls)| **calls >= COUNTED as f64 / 100.0)
        .map(|(name, calls)| format!("{name} {:.2}", calls / COUNTED as f64))
        .collect();
    println!("  system calls per GET on a kept connection: {per_get:.2} ({})", list.join(", "));
    println!("  times a thread of the daemon goes to sleep, per GET: {sleeps:.2}");
    let bulk = BULK / 4;
    let stream =
        syscalls::count(rig.pid(), || lighter_meter::down(&rig.lighter, &format!("/stand-in/source/{bulk}"), bulk))?;
    let per_mib = stream.values().sum::<f64>() / (bulk >> 20) as f64;
    println!("  system calls per MiB of a stream to the client: {per_mib:.1}");
    Ok(json!({ "calls_per_get": per_get, "calls": calls, "sleeps_per_get": sleeps, "calls_per_mib": per_mib }))
}
