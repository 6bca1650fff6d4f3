//! The guest of `windows_guest`: its user space, which is a script, what is on its disk, and what its console must say.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::process::{Run, hex};

/// The kernel's arguments: its first lines on the serial port, those from then on on the virtio console, which does not get what
/// was said before it; a reset by the keyboard controller, also after a panic.
pub const CMDLINE: &str = "earlyprintk=ttyS0 console=hvc0 panic=-1 reboot=k";
/// Size of the guest's disk.
pub const DISK_BYTES: usize = 1 << 20;
/// What the script's lines begin with.
const MARK: &str = "GUEST ";
/// What the guest writes into the disk's second half.
const WRITTEN: &[u8] = b"written by the guest";

/// Says what it finds, line by line, and pulls the reset line. It runs once on each processor, sleeps (which takes a timer),
/// and reads and writes its disk.
const INIT: &str = r#"#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
echo "GUEST time $($B date +%s)"
echo "GUEST kernel $($B uname -r)"
echo "GUEST clock $($B cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
cpus=$($B grep -c ^processor /proc/cpuinfo)
echo "GUEST processors $cpus"
n=0
while [ $n -lt $cpus ]; do $B taskset -c $n $B awk '{ print "GUEST runs on", $39 }' /proc/self/stat; n=$((n+1)); done
$B sleep 1 && echo "GUEST slept"
echo "GUEST disk $($B sha256sum < /dev/vda)"
echo "written by the guest" | $B dd of=/dev/vda bs=512 seek=1024 conv=notrunc,fsync 2>/dev/null && echo "GUEST wrote"
$B reboot -f
"#;

/// An initial file system of the script and a busybox, in `dir`.
pub fn initramfs(dir: &Path, busybox: &Path) -> Result<PathBuf> {
    let tree = dir.join("tree");
    for folder in ["bin", "dev", "proc", "sys"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::copy(busybox, tree.join("bin/busybox"))?;
    fs::write(tree.join("init"), INIT)?;
    let packed = dir.join("initramfs");
    let pack = format!(
        "cd '{0}' && chmod 755 init bin/busybox && mknod dev/console c 5 1 && find . | cpio -o -H newc --quiet > '{1}'",
        tree.display(),
        packed.display()
    );
    Run::new("sh").args(["-c", &pack]).ok()?;
    Ok(packed)
}

/// What is on the disk before the guest has it: no two sectors are alike.
pub fn disk() -> Vec<u8> {
    let sectors = (0..DISK_BYTES as u64 / 512).map(|sector| Sha256::digest(sector.to_le_bytes()));
    sectors.flat_map(|hash| std::iter::repeat_n(hash, 16).flatten()).collect()
}

/// Whether the disk's second half begins with what the guest wrote.
pub fn is_written(disk: &[u8]) -> bool {
    disk.get(DISK_BYTES / 2..).is_some_and(|half| half.starts_with(WRITTEN))
}

/// The lines of the guest's user space.
pub fn told(console: &str) -> impl Iterator<Item = &str> {
    console.lines().filter_map(|line| line.trim_end().strip_prefix(MARK))
}

/// Checks a whole console. `times`: seconds of 1970 between which the guest ran.
pub fn check(console: &str, cpus: usize, times: RangeInclusive<u64>) -> Result<()> {
    ensure!(console.contains("] Linux version "), "the kernel said nothing");
    ensure!(console.contains("] Hypervisor detected: Microsoft Hyper-V"), "the kernel did not know its hypervisor");
    ensure!(console.contains("Run /init as init process"), "user space was not reached");
    let found = |what: &str| {
        let found = told(console).find_map(|line| line.strip_prefix(what)).map(str::trim);
        found.with_context(|| format!("the guest did not say `{what}`"))
    };
    ensure!(found("processors")? == cpus.to_string(), "the guest found another number of processors");
    for cpu in 0..cpus {
        found(&format!("runs on {cpu}"))?;
    }
    // The kernel reads the clock of the PC once, in whole seconds, and counts on from there.
    let time: u64 = found("time")?.parse().context("the guest's time")?;
    ensure!(
        (times.start() - 2..=times.end() + 2).contains(&time),
        "the guest's time is {time}, and it ran in {times:?}"
    );
    ensure!(found("clock")?.starts_with("tsc"), "the guest does not trust its time stamp counter");
    let hash = hex(&Sha256::digest(disk()));
    ensure!(found("disk")?.starts_with(&hash), "the guest read something else than what is on its disk");
    found("slept").and_then(|_| found("wrote")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_has_its_size_and_is_written_in_the_middle() {
        let mut disk = disk();
        assert!(disk.len() == DISK_BYTES && disk[..512] != disk[512..1024] && !is_written(&disk));
        disk[DISK_BYTES / 2..][..WRITTEN.len()].copy_from_slice(WRITTEN);
        assert!(is_written(&disk));
    }

    #[test]
    fn the_lines_of_user_space_are_found_among_the_kernels() {
        let console = "[    0.1] Linux version 6\r\nGUEST slept\r\n[    1.0] x\nGUEST wrote\n";
        assert_eq!(told(console).collect::<Vec<_>>(), ["slept", "wrote"]);
        assert!(check(console, 1, 10..=20).is_err());
    }
}
