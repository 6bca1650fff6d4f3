//! `cargo xtask soak proxy`, and the suite `load`: the Docker API proxy under a thousand clients, faults of the processes beside
//! it, long streams and very many requests, without a guest (see `bench/proxy/rig`). Nothing may be stuck, differ or be left
//! behind; the daemon's memory and descriptors are read from outside. Time is never judged but for the end of a killed
//! engine's streams: otherwise only who waits for minutes is stuck.

mod bodies;
mod faults;
pub mod folders;
mod shipped;

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::proxy::Rig;
use crate::process::wait;

/// Most private memory of the daemon under load.
const MOST_KIB: u64 = 96 << 10;
/// Most private memory of a daemon that has been used and is used no more.
const REST_KIB: u64 = 12 << 10;
/// What the load may leave: a tenth, but not less than what an allocator's tables take.
const LEFT_PERCENT: u64 = 10;
const LEFT_KIB: u64 = 256;
/// Requests with a connection each, and what all of them together may leave: ten bytes each would be too much.
const REQUESTS: usize = 100_000;
const REQUESTS_KIB: u64 = 1024;
/// How long memory that falls no further has not fallen: the daemon gives it back seconds after its last use.
const STILL: Duration = Duration::from_secs(10);
/// How long the daemon may take to give memory back.
const REST: Duration = Duration::from_secs(60);
/// A load that has not ended so long after its time hangs.
const STUCK: Duration = Duration::from_secs(300);

/// What can be loaded for long.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum What {
    /// The Docker API proxy.
    Proxy,
    /// The server of shared folders.
    Folders,
}

/// How much of everything.
pub struct Plan {
    /// How long the thousand clients stay.
    time: Duration,
    /// Bytes of a body of an ordinary request or answer.
    body: u64,
    /// How long a process stands still under load.
    pause: Duration,
}

impl Plan {
    /// Of the suite `load`.
    pub fn short() -> Plan {
        Plan { time: Duration::from_secs(120), body: 1_000_000_000, pause: Duration::from_secs(3) }
    }

    /// Of `soak proxy`.
    pub fn long(time: Duration) -> Plan {
        Plan { time, body: 10_000_000_000, pause: Duration::from_secs(60) }
    }
}

/// Everything, first with a daemon in which no leak can hide, at last with one as it is shipped.
pub fn run(plan: &Plan) -> Result<()> {
    let mut rig = Rig::start_for_leaks()?;
    let fresh = rig.descriptors()?;
    // Code and tables that the first use of everything brings in are no leak: what follows is done once before it counts.
    println!("   the first time:");
    faults::x2_engine_and_daemon_stand_still_under_load(&rig, Duration::ZERO)?;
    faults::x1_streams_of_a_killed_engine_end_and_new_calls_work_when_it_is_back(&mut rig)?;
    // What the faults leave in the allocator's hands goes back with the next load, and is not to count as room for leaks.
    thousand(&rig, Duration::from_secs(5))?;
    rig.settle(fresh)?;
    let before = lowest(&rig)?;
    let descriptors = rig.descriptors()?;
    println!("   before: {before} KiB private, {descriptors} descriptors");
    let (report, peak) = watched(&rig, || thousand(&rig, plan.time))?;
    println!("   {} s of 1 000 clients: {report}", plan.time.as_secs());
    rig.settle(descriptors)?;
    ensure!(peak <= MOST_KIB, "the daemon took {peak} KiB of private memory, the limit is {MOST_KIB}");
    let after = at_rest(&rig, returned(before))?;
    println!("   peak {peak} KiB private; after it {after} KiB, {} descriptors", rig.descriptors()?);
    faults::x2_engine_and_daemon_stand_still_under_load(&rig, plan.pause)?;
    faults::x1_streams_of_a_killed_engine_end_and_new_calls_work_when_it_is_back(&mut rig)?;
    // As before it counted.
    thousand(&rig, Duration::from_secs(5))?;
    rig.settle(descriptors)?;
    let after = at_rest(&rig, returned(before))?;
    println!("   after the faults {after} KiB private, {} descriptors", rig.descriptors()?);
    bodies::h7_long_streams_and_bodies_move_no_memory(&rig, plan.body)?;
    requests(&rig, descriptors)?;
    drop(rig);
    shipped::run()
}

/// The most private memory that a daemon may keep after a load that had `before` without one.
fn returned(before: u64) -> u64 {
    before + (before * LEFT_PERCENT / 100).max(LEFT_KIB)
}

/// One load; fails if anything was stuck, failed or differed.
fn thousand(rig: &Rig, time: Duration) -> Result<Value> {
    let mut command = Command::new(&rig.program);
    command.arg("load").arg(&rig.lighter).arg(time.as_secs().to_string());
    let mut load = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run the load")?;
    wait(&mut load, time + STUCK).context("the load")?;
    let mut text = String::new();
    load.stdout.take().context("no pipe")?.read_to_string(&mut text)?;
    let report: Value = serde_json::from_str(&text).context("the load gave no report")?;
    for fault in ["stuck", "differences", "failed"] {
        ensure!(report[fault] == 0, "{fault}: {report}");
    }
    for kind in ["hijacked", "streaming", "short"] {
        ensure!(report[kind].as_u64() > Some(0), "no {kind} client came through: {report}");
    }
    Ok(report)
}

/// Runs `work`; what it returned, and the most private memory that the daemon had meanwhile.
fn watched<T>(rig: &Rig, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(rig.private_kib()?);
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(peak)
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        let peak: Result<u64> = watch.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok((done?, peak?))
    })
}

/// `docker ps` in a loop.
fn requests(rig: &Rig, descriptors: usize) -> Result<()> {
    let before = rig.private_kib()?;
    let started = Instant::now();
    drop(lighter_meter::fresh(&rig.lighter, "/v1.45/containers/json", REQUESTS)?);
    rig.settle(descriptors)?;
    let moved = at_rest(rig, before + REQUESTS_KIB)?.saturating_sub(before);
    println!("   {REQUESTS} requests in {} s left {moved} KiB private, no descriptor", started.elapsed().as_secs());
    Ok(())
}

/// The daemon's private memory once it falls no further.
fn lowest(rig: &Rig) -> Result<u64> {
    let (mut least, mut since) = (at_rest(rig, REST_KIB)?, Instant::now());
    while since.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(200));
        let kib = rig.private_kib()?;
        if kib < least {
            (least, since) = (kib, Instant::now());
        }
    }
    Ok(least)
}

/// The daemon's private memory once it is at most `limit`: freed memory goes back some seconds after the clients.
fn at_rest(rig: &Rig, limit: u64) -> Result<u64> {
    let end = Instant::now() + REST;
    loop {
        let kib = rig.private_kib()?;
        if kib <= limit {
            return Ok(kib);
        }
        ensure!(Instant::now() < end, "the daemon keeps {kib} KiB of private memory without clients, not {limit}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
