//! `bench proxy`: what a Docker request and a hijacked stream cost on their way through lighter's daemon, beside the same on
//! a direct connection and through `socat`, in turn, on this host and without a guest.
//!
//! In the measured path: the product's listener and accept loop with its check of the peer, its runtime, the door, the
//! proxy, and one local socket where the product has a vsock stream. Not in it: the vsock device, its rings, the guest's relay
//! and dockerd. The stand-in dockerd answers at once, so that nothing hides what the way costs: a direct GET is two
//! wake-ups, one through any proxy at least four. `proxy-software` measures the whole way with a real dockerd.

mod rig;
pub mod software;
pub mod syscalls;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub use rig::Rig;

use super::median;
use crate::packages;

/// GETs in one turn, on a kept connection and on connections of their own.
const KEPT: usize = 200;
const FRESH: usize = 50;
/// Bytes of one turn's bulk stream.
const BULK: u64 = 256 << 20;
/// Turns of each way in a round: short ones, so that what else runs on the host disturbs every way alike.
const TURNS: usize = 20;
const BULK_TURNS: usize = 5;
/// GETs whose system calls are counted.
const COUNTED: usize = 2000;
/// Most system calls of the daemon per GET on a kept connection.
const MOST_CALLS: f64 = 8.0;

/// What is compared, in this order everywhere.
const WAYS: [&str; 3] = ["direct", "lighter", "socat"];
/// One figure of each way, from turns that followed each other.
type Turn = [f64; 3];
/// Turns by what was measured: times in microseconds, throughput in MiB/s.
type Table = BTreeMap<&'static str, Vec<Turn>>;

/// Runs the comparison, prints it, and fails when a counter is above its limit. Times never fail it.
pub fn run(rounds: u32) -> Result<Value> {
    packages::ensure(packages::PROXY_BENCH)?;
    let rig = Rig::start()?;
    let (_socat, socat) = rig.socat()?;
    let idle_kib = rig.private_kib()?;
    let ways = [rig.engine.as_path(), rig.lighter.as_path(), socat.as_path()];
    let mut table = Table::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        sample(ways, &mut table)?;
    }
    let busy_kib = rig.private_kib()?;
    let medians = show(&table);
    let counters = counters(&rig)?;
    println!("  daemon's private memory: {idle_kib} KiB before, {busy_kib} KiB after");
    let calls = counters["calls_per_get"].as_f64().unwrap_or(f64::MAX);
    ensure!(calls <= MOST_CALLS, "{calls:.1} system calls per GET, the limit is {MOST_CALLS}");
    Ok(json!({ "medians": medians, "turns": table, "counters": counters,
               "private_kib": { "idle": idle_kib, "after": busy_kib } }))
}

/// One round of everything.
fn sample(ways: [&Path; 3], table: &mut Table) -> Result<()> {
    let mut add = |what, turns: Vec<Turn>| table.entry(what).or_default().extend(turns);
    let kept = turns(ways, TURNS, |socket| lighter_meter::kept(socket, "/_ping", KEPT))?;
    add("1 GET, connection kept, p50 (us)", kept.iter().map(|turn| micros(turn, 50)).collect());
    add("2 GET, connection kept, p99 (us)", vec![micros(&merged(&kept), 99)]);
    let fresh = turns(ways, TURNS, |socket| lighter_meter::fresh(socket, "/_ping", FRESH))?;
    add("3 GET, new connection, p50 (us)", fresh.iter().map(|turn| micros(turn, 50)).collect());
    add("4 GET, new connection, p99 (us)", vec![micros(&merged(&fresh), 99)]);
    let mib = |turns: Vec<Turn>| turns.iter().map(|turn| turn.map(|bytes| bytes / f64::from(1 << 20))).collect();
    let source = format!("/stand-in/source/{BULK}");
    let down = turns(ways, BULK_TURNS, |socket| lighter_meter::down(socket, &source, BULK))?;
    add("5 stream to the client (MiB/s)", mib(down));
    let up = turns(ways, BULK_TURNS, |socket| lighter_meter::up(socket, "/stand-in/sink", BULK))?;
    add("6 stream to the engine (MiB/s)", mib(up));
    Ok(())
}

/// Measures the ways in turn, each turn beginning with another one.
fn turns<T: Default>(ways: [&Path; 3], count: usize, measure: impl Fn(&Path) -> io::Result<T>) -> Result<Vec<[T; 3]>> {
    let mut all = Vec::new();
    for turn in 0..count {
        let mut row = <[T; 3]>::default();
        for step in 0..ways.len() {
            let way = (turn + step) % ways.len();
            row[way] = measure(ways[way]).with_context(|| format!("by way of {}", WAYS[way]))?;
        }
        all.push(row);
    }
    Ok(all)
}

fn micros(turn: &[Vec<u64>; 3], percent: usize) -> Turn {
    turn.each_ref().map(|samples| lighter_meter::percentile(samples, percent) as f64 / 1e3)
}

/// The samples of all turns together, for percentiles that a short turn does not have.
fn merged(turns: &[[Vec<u64>; 3]]) -> [Vec<u64>; 3] {
    [0, 1, 2].map(|way| turns.iter().flat_map(|turn| turn[way].iter().copied()).collect())
}

/// Prints medians, and medians of the ratios within a turn.
fn show(table: &Table) -> Value {
    println!("\nproxy, without a guest, medians of turns; the ratios are the figures");
    println!("  {:<34} {:>8} {:>8} {:>8} {:>9} {:>8}", "", WAYS[0], WAYS[1], WAYS[2], "to direct", "to socat");
    let mut medians = serde_json::Map::new();
    for (what, turns) in table {
        let of = |figure: fn(&Turn) -> f64| median(&turns.iter().map(figure).collect::<Vec<_>>()).unwrap_or_default();
        let (direct, ours, socat) = (of(|turn| turn[0]), of(|turn| turn[1]), of(|turn| turn[2]));
        let (to_direct, to_socat) = (of(|turn| turn[1] / turn[0]), of(|turn| turn[1] / turn[2]));
        println!("  {what:<34} {direct:>8.0} {ours:>8.0} {socat:>8.0} {to_direct:>9.2} {to_socat:>8.2}");
        medians.insert(
            (*what).to_owned(),
            json!({ "direct": direct, "lighter": ours, "socat": socat, "to_direct": to_direct, "to_socat": to_socat }),
        );
    }
    Value::Object(medians)
}

/// System calls per GET and per MiB of a stream, and how often a thread goes to sleep per GET.
fn counters(rig: &Rig) -> Result<Value> {
    let before = rig.sleeps()?;
    drop(lighter_meter::kept(&rig.lighter, "/_ping", COUNTED)?);
    let sleeps = (rig.sleeps()? - before) as f64 / COUNTED as f64;
    let kept = syscalls::count(rig.pid(), || lighter_meter::kept(&rig.lighter, "/_ping", COUNTED))?;
    let per_get = syscalls::show("GET on a kept connection", &kept, COUNTED as f64);
    println!("  times a thread of the daemon goes to sleep, per GET: {sleeps:.2}");
    let fresh = syscalls::count(rig.pid(), || lighter_meter::fresh(&rig.lighter, "/_ping", COUNTED))?;
    syscalls::show("GET on a new connection", &fresh, COUNTED as f64);
    let source = format!("/stand-in/source/{BULK}");
    let stream = syscalls::count(rig.pid(), || lighter_meter::down(&rig.lighter, &source, BULK))?;
    let per_mib = syscalls::show("MiB of a stream to the client", &stream, (BULK >> 20) as f64);
    Ok(json!({ "calls_per_get": per_get, "calls_per_mib": per_mib, "sleeps_per_get": sleeps,
               "calls": { "kept": kept, "fresh": fresh, "stream": stream } }))
}
