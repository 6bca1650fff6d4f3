//! What a stack's process spends: processor time from `/proc`, and system calls by `strace`. Called by `measures` and, after the
//! timed runs, by `inside`.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::servers::Arrived;
use super::stacks::{MTUS, NAMES, Stacks};
use super::{clients, world};
use crate::bench::proxy::syscalls;

/// One traced run.
const RUN: Duration = Duration::from_millis(500);

/// Processor time of a process so far, in user and system mode together (proc_pid_stat(5)).
pub fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the stack has ended")?;
    // The program's name may hold anything; behind it the fields count from the third.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u64>().ok()).context("read stat");
    Ok((ticks(14)? + ticks(15)?) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// System calls per megabyte each way at each MTU, and per visit. Tracing slows what is traced, so this is apart.
pub fn count(stacks: &Stacks, arrived: &Arrived) -> Result<Value> {
    let mut all = serde_json::Map::new();
    println!("\nsystem calls of the stack's process, traced");
    for (which, name) in NAMES.iter().enumerate() {
        for (mtu, stacks) in MTUS.iter().zip(stacks) {
            let stack = &stacks[which];
            for up in [true, false] {
                let way = if up { "guest to server" } else { "server to guest" };
                let what = format!("MB {way}, MTU {mtu}");
                let run = || if up { clients::up(arrived, 1, RUN) } else { clients::down(1, RUN) };
                let (calls, moved) = traced(stack.pid, &stack.guest, run)?;
                all.insert(format!("{name}, {what}"), json!(show(name, &what, &calls, moved.bytes as f64 / 1e6)));
            }
        }
        let stack = &stacks[0][which];
        let (calls, visits) = traced(stack.pid, &stack.guest, || clients::visits(RUN))?;
        all.insert(format!("{name}, visit"), json!(show(name, "visit", &calls, visits.len() as f64)));
    }
    Ok(Value::Object(all))
}

fn traced<T: Send>(
    pid: u32,
    guest: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<(BTreeMap<String, f64>, T)> {
    let mut done = None;
    let calls = syscalls::count(pid, || {
        done = Some(world::within(guest, work).map_err(io::Error::other)?);
        Ok(())
    })?;
    Ok((calls, done.context("nothing was done")?))
}

fn show(name: &str, what: &str, calls: &BTreeMap<String, f64>, things: f64) -> f64 {
    let each = calls.values().sum::<f64>() / things;
    let often = calls.iter().filter(|(_, calls)| **calls >= things / 20.0);
    let list: Vec<String> = often.map(|(name, calls)| format!("{name} {:.2}", calls / things)).collect();
    println!("  {name:<12} per {what}: {each:.1} ({})", list.join(", "));
    each
}
