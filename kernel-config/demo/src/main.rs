//! The one program of the image `lighter/demo`: prints where it runs, from what a container can see of itself. The kernel-config
//! crate packs it, the agent loads it, a person runs it as `docker run --rm lighter/demo`.

use std::{fs, process};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    println!("Hello from a container that lighter runs.");
    for (name, value) in facts() {
        println!("  {name:<10} {value}");
    }
    if !arguments.is_empty() {
        println!("  {:<10} {}", "arguments", arguments.join(" "));
    }
}

fn facts() -> [(&'static str, String); 7] {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mounts = read("/proc/self/mounts");
    [
        ("kernel", format!("Linux {} {}", read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH)),
        ("engine", engine(fs::exists("/.dockerenv").unwrap_or(false)).to_owned()),
        ("container", read("/proc/sys/kernel/hostname")),
        ("process", process::id().to_string()),
        ("root", root_kind(&mounts).to_owned()),
        ("cpus", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", total_memory(&read("/proc/meminfo"))),
    ]
}

/// dockerd puts `/.dockerenv` into every container.
fn engine(marked: bool) -> &'static str {
    if marked { "Docker" } else { "none (there is no /.dockerenv)" }
}

/// File system type of `/` in the text of `/proc/self/mounts`; the last one mounted there counts.
fn root_kind(mounts: &str) -> &str {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(1) == Some(&"/"))
        .filter_map(|fields| fields.get(2).copied())
        .next_back()
        .unwrap_or("unknown")
}

/// `MemTotal` of `/proc/meminfo` in MiB.
fn total_memory(meminfo: &str) -> String {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = total.and_then(|text| text.split_whitespace().next()).and_then(|text| text.parse().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_what_was_mounted_last() {
        assert_eq!(root_kind("rootfs / rootfs rw 0 0\noverlay / overlay rw 0 0\nproc /proc proc rw 0 0"), "overlay");
        assert_eq!(root_kind(""), "unknown");
    }

    #[test]
    fn memory_is_in_mebibytes() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:        2046 kB\n"), "1 MiB");
        assert_eq!(total_memory("MemTotal: much"), "unknown");
    }
}
