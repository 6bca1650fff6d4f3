//! The daemon as it is shipped: how far one load after another moves the memory at which it rests. Called by `run`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{LEFT_PERCENT, REST, REST_KIB, thousand};
use crate::bench::proxy::Rig;

/// How long the thousand clients stay, the first time and the second.
const FIRST: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(8);
/// What one load may leave beyond the one before it, if a tenth is less. glibc lets each thread keep up to seven freed chunks of
/// each of 64 sizes up to 1032 bytes, 231 KiB, and the daemon has four threads. Which chunks lie there is chance, so a load
/// after the first may still fill them up; what is left beyond them is a leak. A leak that is smaller shows in the daemon
/// without those caches, which is held to a tenth.
const CACHES_KIB: u64 = 4 * 231;
/// Who rests does not move for so long; freed memory goes back some seconds after the clients.
const STILL: Duration = Duration::from_secs(6);

/// A load that brings in what the first use of everything needs, and another one to judge.
pub fn run() -> Result<()> {
    let rig = Rig::start()?;
    let (fresh, idle) = (rig.descriptors()?, rig.private_kib()?);
    let loaded = |time| -> Result<u64> {
        thousand(&rig, time)?;
        rig.settle(fresh)?;
        rested(&rig)
    };
    let (before, after) = (loaded(FIRST)?, loaded(SECOND)?);
    println!(
        "   as shipped: {idle} KiB private when started, {before} KiB after {} s of 1 000 clients, {after} KiB after {} s more: {:+.0} %",
        FIRST.as_secs(),
        SECOND.as_secs(),
        (after as f64 / before as f64 - 1.0) * 100.0
    );
    let limit = (before + (before * LEFT_PERCENT / 100).max(CACHES_KIB)).min(REST_KIB);
    ensure!(after <= limit, "the daemon as shipped keeps {after} KiB of private memory without clients, not {limit}");
    Ok(())
}

/// The daemon's private memory once that does not move any more.
fn rested(rig: &Rig) -> Result<u64> {
    let end = Instant::now() + REST;
    loop {
        let kib = rig.private_kib()?;
        sleep(STILL);
        if rig.private_kib()? == kib {
            return Ok(kib);
        }
        ensure!(Instant::now() < end, "the daemon's memory moves without clients");
    }
}
