//! What the guest knows of itself: versions, uptime, memory, disk. Called by `control`.

use std::fs;
use std::io;

use lighter_protocol::{GuestInfo, paths};

use crate::{Guest, clock};

/// Everything at once.
pub fn guest_info(guest: &Guest) -> io::Result<GuestInfo> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let disk = rustix::fs::statvfs(paths::DATA)?;
    Ok(GuestInfo {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        engine: guest.engine.version(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: clock::uptime().as_secs(),
        memory_total: memory_field(&memory, "MemTotal"),
        memory_available: memory_field(&memory, "MemAvailable"),
        disk_total: disk.f_blocks.saturating_mul(disk.f_frsize),
        disk_free: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

/// A field of `/proc/meminfo` in bytes; 0 if the kernel does not say.
fn memory_field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::memory_field;

    #[test]
    fn memory_is_read_in_bytes_and_by_its_whole_name() {
        let text = "MemTotal:        2014412 kB\nMemFree:  1 kB\nMemAvailable:    1899000 kB\n";
        assert_eq!(memory_field(text, "MemTotal"), 2_014_412 * 1024);
        assert_eq!(memory_field(text, "MemAvailable"), 1_899_000 * 1024);
        assert_eq!(memory_field(text, "Mem"), 0);
        assert_eq!(memory_field("MemTotal: lots", "MemTotal"), 0);
    }
}
