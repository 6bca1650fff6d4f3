//! Memory that containers have freed, as the host counts it: what was behind it goes back while the machine runs on.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::lifecycle::status_json;
use super::{BUSYBOX, Case, Session};
use crate::bench::private_memory;

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![Case { name: "freed_memory_goes_back_to_the_host", run: goes_back }]
}

const MIB: u64 = 1 << 20;
/// MiB that the container fills.
const FILLED: u64 = 300;
/// MiB of them that must come back at least: what else the guest does meanwhile takes some anew, and small pieces stay.
const BACK: u64 = 150;
/// In which the guest's kernel looks for free memory at least once.
const SETTLED: Duration = Duration::from_secs(3);
/// What cases before have left: caches, and free memory in pieces too small to go back, which the container would fill first.
const EMPTIED: &str = "sync && echo 3 > /proc/sys/vm/drop_caches && echo 1 > /proc/sys/vm/compact_memory";

fn goes_back(s: &Session) -> Result<()> {
    let script = format!("dd if=/dev/zero of=/fill/file bs=1M count={FILLED} 2> /dev/null && echo full && sleep 1000");
    let fill = format!("/fill:size={}m", FILLED + 50);
    let before = emptied(s)?;
    s.out(&["run", "-d", "--name", "filler", "--tmpfs", &fill, BUSYBOX, "sh", "-c", &script])?;
    until(s, "the container has filled its memory", || Ok(s.out(&["logs", "filler"])? == "full"))?;
    let peak = held(s)?;
    let grown = peak.saturating_sub(before);
    ensure!(peak >= FILLED * MIB, "the host holds {} MiB for a guest that uses {FILLED} and more", peak / MIB);
    ensure!(
        grown >= BACK * MIB,
        "the guest took {} MiB more for {FILLED}: it still held the rest of cases before, so this one shows nothing",
        grown / MIB
    );
    s.out(&["rm", "-f", "filler"])?;
    let started = Instant::now();
    let mut now = peak;
    let fell = until(s, "the memory has gone back", || {
        now = held(s)?;
        Ok(now + BACK * MIB <= peak)
    });
    let mib = [before, peak, now].map(|bytes| bytes / MIB);
    fell.with_context(|| format!("MiB that the host holds for the guest before, at the peak and now: {mib:?}"))?;
    println!(
        "    held for the guest before, at the peak and {:.1} s later: {mib:?} MiB",
        started.elapsed().as_secs_f64()
    );
    // What went back is there again when it is wanted, and as good as new.
    let again = format!(
        "dd if=/dev/zero bs=1M count={FILLED} of=/fill/file 2> /dev/null && tr -d '\\000' < /fill/file | wc -c"
    );
    let odd = s.out(&["run", "--rm", "--tmpfs", &fill, BUSYBOX, "sh", "-c", &again])?;
    ensure!(odd == "0", "{odd} bytes of a file of zeroes are none");
    Ok(())
}

/// What the host holds for a guest that holds as little as it can.
fn emptied(s: &Session) -> Result<u64> {
    s.lighter(["shell", "sh", "-c", EMPTIED]).ok()?;
    let mut least = held(s)?;
    until(s, "what the guest has freed has gone back", || {
        std::thread::sleep(SETTLED);
        let before = std::mem::replace(&mut least, held(s)?);
        Ok(before <= least + 8 * MIB)
    })?;
    Ok(least)
}

/// Asks until the answer is yes.
fn until(s: &Session, what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + s.seconds(120);
    while !ask()? {
        ensure!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Bytes of this computer's memory that are behind the guest's RAM.
fn held(s: &Session) -> Result<u64> {
    let daemon = status_json(s)?["pid"].as_u64().context("no pid")?;
    match s.engine {
        // The RAM is the daemon's own.
        "kvm" => Ok(private_memory::guest_kib(daemon)? << 10),
        // It is a file without a name that QEMU made and that the daemon has open too; no process counts it as its own.
        "software" => shared_ram(daemon),
        engine => bail!("where the guest's RAM is with {engine} is not known"),
    }
}

fn shared_ram(pid: u64) -> Result<u64> {
    let folder = format!("/proc/{pid}/fd");
    for entry in std::fs::read_dir(&folder).with_context(|| folder.clone())? {
        let path = entry?.path();
        // One may have been closed since.
        let (Ok(name), Ok(about)) = (std::fs::read_link(&path), std::fs::metadata(&path)) else { continue };
        if name.to_string_lossy().starts_with("/memfd:") && about.len() >= 512 * MIB {
            return Ok(about.blocks() * 512);
        }
    }
    bail!("process {pid} has no file that is the guest's RAM")
}
