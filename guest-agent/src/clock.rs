//! Time: the guest has no clock of its own, the host tells the wall time at boot and after sleep. Called by `boot` and
//! `control`.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// A clock that is wrong by less is left alone.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Time since the machine started, sleep included (CLOCK_BOOTTIME).
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// [`uptime`] as events carry it.
pub fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// Sets the wall clock if it is wrong by more than [`TOLERANCE`]: the host's words take time to come, and programs do not
/// like a clock that goes back.
pub fn correct(unix_seconds: u64, unix_nanos: u32) -> io::Result<()> {
    let ours = clock_gettime(ClockId::Realtime);
    let ours = Duration::new(u64::try_from(ours.tv_sec).unwrap_or(0), u32::try_from(ours.tv_nsec).unwrap_or(0));
    if unix_nanos < 1_000_000_000 && is_right(ours, Duration::new(unix_seconds, unix_nanos)) {
        return Ok(());
    }
    tracing::info!(seconds = unix_seconds, "setting the clock");
    set(unix_seconds, unix_nanos)
}

fn is_right(ours: Duration, theirs: Duration) -> bool {
    ours.abs_diff(theirs) <= TOLERANCE
}

/// Sets the wall clock.
pub fn set(unix_seconds: u64, unix_nanos: u32) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a time of day");
    if unix_nanos >= 1_000_000_000 {
        return Err(invalid());
    }
    let tv_sec = i64::try_from(unix_seconds).map_err(|_| invalid())?;
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: unix_nanos.into() })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x6_a_clock_is_left_alone_only_while_it_is_nearly_right() {
        let now = Duration::from_secs(1_800_000_000);
        for (off, right) in [(0, true), (499, true), (501, false), (3_600_000, false), (u64::MAX / 2, false)] {
            let off = Duration::from_millis(off);
            assert_eq!(is_right(now + off, now), right, "{off:?}");
            assert_eq!(is_right(now, now + off), right, "{off:?}");
        }
    }

    #[test]
    fn x6_what_is_no_time_of_day_is_refused() {
        for (seconds, nanos) in [(u64::MAX, 0), (0, 1_000_000_000), (i64::MAX as u64 + 1, 0)] {
            assert_eq!(correct(seconds, nanos).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
