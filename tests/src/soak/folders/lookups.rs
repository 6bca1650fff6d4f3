//! A million names asked for: what the server keeps of them is bounded, and goes when the kernel forgets them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::mounted::Mounted;

const FOLDERS: usize = 100;
const FILES: usize = 1000;
const TIMES: usize = 10;
/// Nodes that the server may hold open at once, and descriptors beside them.
const HELD: usize = 64;
const BESIDE: usize = 64;
/// Resident memory at most, with a hundred thousand names known.
const MOST_KIB: u64 = 96 << 10;
/// What is open in a server that nobody knows anything of.
const REST: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

/// See the head of this file.
pub fn f10_a_million_lookups_leave_nothing(rig: &Path, place: &Path) -> Result<()> {
    let mounted = Mounted::start(rig, place, &[&format!("held={HELD}")], false)?;
    for folder in 0..FOLDERS {
        let folder = mounted.host.join(format!("folder-{folder}"));
        fs::create_dir(&folder)?;
        (0..FILES).try_for_each(|file| fs::write(folder.join(format!("file-{file}")), "").map(drop))?;
    }
    let (mut memory, mut descriptors) = (0, 0);
    for _ in 0..TIMES {
        forget()?;
        for folder in 0..FOLDERS {
            let folder = mounted.share.join(format!("folder-{folder}"));
            for file in 0..FILES {
                fs::symlink_metadata(folder.join(format!("file-{file}")))?;
            }
            let (kib, open) = mounted.taken()?;
            (memory, descriptors) = (memory.max(kib), descriptors.max(open));
        }
    }
    println!("   {} lookups: {memory} KiB resident, {descriptors} descriptors at most", FOLDERS * FILES * TIMES);
    ensure!(descriptors <= HELD + BESIDE, "{descriptors} descriptors were open");
    ensure!(memory <= MOST_KIB, "{memory} KiB were resident, the limit is {MOST_KIB}");
    let end = Instant::now() + PATIENCE;
    let left = loop {
        forget()?;
        let (_, open) = mounted.taken()?;
        if open <= REST || Instant::now() >= end {
            break open;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    ensure!(left <= REST, "{left} descriptors are open although the kernel has forgotten all names");
    println!("   forgotten: {left} descriptors");
    mounted.end()
}

/// Makes the kernel forget names that nobody uses.
fn forget() -> Result<()> {
    Ok(fs::write("/proc/sys/vm/drop_caches", "2")?)
}
