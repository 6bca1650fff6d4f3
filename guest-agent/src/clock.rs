//! Time: the guest has no clock of its own, the host tells the wall time at boot and after sleep. Called by `boot` and
//! `control`.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Time since the machine started, sleep included (CLOCK_BOOTTIME).
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// [`uptime`] as events carry it.
pub fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
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
