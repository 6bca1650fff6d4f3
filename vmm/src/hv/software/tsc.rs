//! The rate of the time stamp counter that the guest will see. TCG shows the host's own counter, and Linux' attempts to
//! measure it by an emulated timer fail on a busy host, which costs it the counter, the high-resolution timers and a precise
//! clock. So we measure and tell it. Called by the engine before it starts QEMU.
// Unsafe because reading the counter is an intrinsic.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// Long enough for an error of a few parts per million; most of it passes while the engine prepares other things.
const SPAN: Duration = Duration::from_millis(20);
/// The clock is read on both sides of the counter; of so many attempts, the least interrupted one counts.
const ATTEMPTS: usize = 8;

/// The counter at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    ticks: u64,
    moment: Instant,
}

impl Sample {
    /// Reads counter and clock together. `None` if this CPU has no counter that runs at a constant rate.
    pub fn take() -> Option<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        is_constant(&info).then(Self::read)?
    }

    /// Ticks per millisecond since this sample. Waits until enough time has passed.
    pub fn kilohertz(self) -> Option<u64> {
        std::thread::sleep(SPAN.saturating_sub(self.moment.elapsed()));
        let now = Self::read()?;
        let nanoseconds = u64::try_from(now.moment.duration_since(self.moment).as_nanos()).ok()?;
        let ticks = u128::from(now.ticks.checked_sub(self.ticks)?);
        u64::try_from(ticks * 1_000_000 / u128::from(nanoseconds.max(1))).ok()
    }

    fn read() -> Option<Self> {
        let attempt = || {
            let before = Instant::now();
            let ticks = counter()?;
            let width = before.elapsed();
            Some((width, Self { ticks, moment: before + width / 2 }))
        };
        (0..ATTEMPTS).filter_map(|_| attempt()).min_by_key(|(width, _)| *width).map(|(_, sample)| sample)
    }
}

fn is_constant(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    ["constant_tsc", "nonstop_tsc"].iter().all(|wanted| flags.split_whitespace().any(|flag| flag == *wanted))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: every x86-64 CPU has the instruction, and Linux lets user space execute it unless a process asks not to.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let Some(first) = Sample::read() else { return };
        let (one, other) = (first.kilohertz().unwrap(), Sample::read().unwrap().kilohertz().unwrap());
        assert!(one.abs_diff(other) * 1000 < one, "{one} and {other} kHz");
    }

    #[test]
    fn a_counter_that_changes_its_rate_or_stops_is_not_trusted() {
        assert!(is_constant("processor : 0\nflags\t\t: fpu tsc constant_tsc rep_good nonstop_tsc\nbugs :\n"));
        assert!(!is_constant("flags\t\t: fpu tsc constant_tsc rep_good\nbugs : nonstop_tsc\n"));
        assert!(!is_constant(""));
    }
}
