//! How much memory of a process is its own, and how much its guest's: anonymous pages of every mapping but the guest's RAM, or of
//! that alone. Pages of its program's file count for nobody: they are private or not by whether another process of that program
//! happens to run, and clean or dirty by whether the file has just been written. Memory that is shared by a descriptor is not
//! counted either.

use anyhow::{Context, Result};

/// Mappings of at least this many KiB are taken to be guest RAM (the benches start guests with 1 GiB or more).
const RAM_KIB: u64 = 512 << 10;

/// KiB of process `pid` that are its own, guest RAM left out (Linux, `/proc/PID/smaps`).
pub fn kib(pid: u64) -> Result<u64> {
    Ok(count(&smaps(pid)?, false))
}

/// KiB of process `pid` that are behind a guest's RAM which is private to it (Linux, `/proc/PID/smaps`).
pub fn guest_kib(pid: u64) -> Result<u64> {
    Ok(count(&smaps(pid)?, true))
}

fn smaps(pid: u64) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/smaps")).with_context(|| format!("read smaps of {pid}"))
}

/// Anonymous pages of mappings that are RAM, or of those that are not.
fn count(smaps: &str, ram: bool) -> u64 {
    let (mut total, mut is_ram) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), value) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) else {
            continue;
        };
        match (key, value) {
            ("Size:", Some(size)) => is_ram = size >= RAM_KIB,
            ("Anonymous:", Some(size)) if is_ram == ram => total += size,
            _ => {}
        }
    }
    total
}

#[cfg(test)]
mod tests {
    #[test]
    fn guest_ram_and_the_programs_own_pages_are_left_out() {
        let smaps = "7f00-7f01 rw-p\nSize: 2097152 kB\nAnonymous: 900 kB\n7f02-7f03 rw-p\nSize: 132 kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 9 kB\nAnonymous: 8 kB\n";
        assert_eq!((super::count(smaps, false), super::count(smaps, true)), (8, 900));
    }
}
