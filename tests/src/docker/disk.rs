//! The data disk when things change below it: a disk made larger between two starts, and a host whose disk is full while
//! the guest writes. Each case has a machine of its own, while the session's is stopped.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use serde_json::Value;

use super::{Case, Session, same};
use crate::process::Run;

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "data_disk_grows_and_keeps_its_data", run: grows },
        Case { name: "full_host_makes_writes_wait_and_loses_none", run: full_host },
    ]
}

/// MiB of a file that a case keeps on the disk.
const MIB: u32 = 64;
/// MiB that the full host has left when the guest begins to write that file.
const LEFT: u64 = 24;

fn fill(path: &str) -> String {
    format!("yes 'all of this is kept' | head -c {}m > {path} && sync && echo written", MIB)
}

fn compare(path: &str) -> String {
    // Not from memory: what is compared has been on the disk.
    format!(
        "echo 3 > /proc/sys/vm/drop_caches; yes 'all of this is kept' | head -c {}m | cmp - {path} && echo same",
        MIB
    )
}

/// A machine beside the session's, gone with all its data when dropped.
struct Other<'a> {
    s: &'a Session,
    name: &'static str,
}

impl<'a> Other<'a> {
    /// Stops the session's machine, which the case starts again when it is done.
    fn instead(s: &'a Session, name: &'static str) -> Result<Self> {
        s.lighter(["stop"]).within(s.seconds(90)).ok()?;
        Ok(Self { s, name })
    }

    fn lighter(&self, words: &[&str]) -> Run {
        self.s.lighter(["-p", self.name].iter().chain(words)).within(self.s.seconds(180))
    }

    fn start(&self, more: &[&str]) -> Result<()> {
        let words = ["start", "--engine", self.s.engine, "--cpus", self.s.cpus, "--memory", "1", "--activate=false"];
        self.lighter(&[&words, more].concat()).ok().with_context(|| self.last_words()).map(drop)
    }

    /// The ends of its logs, which go with it.
    fn last_words(&self) -> String {
        let end = |name: &str| {
            let text = std::fs::read(self.folder().join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            format!("end of {name}:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
        };
        format!("{}\n{}\n", end("console.log"), end("daemon.log"))
    }

    /// What a script says that runs in the guest.
    fn guest(&self, script: &str) -> Result<String> {
        Ok(self.lighter(&["shell", "sh", "-c", script]).ok()?.text())
    }

    fn stop(&self) -> Result<()> {
        self.lighter(&["stop"]).ok().map(drop)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.lighter(&["status", "--json"]).ok()?.stdout)?)
    }

    fn folder(&self) -> PathBuf {
        self.s.dir.join("home").join(self.name)
    }

    /// The file system of the stopped machine's disk is whole, without so much as a journal to replay.
    fn is_sound(&self) -> Result<()> {
        let disk = self.folder().join("data.img");
        Run::new("e2fsck").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-f", "-n"]).args([disk]).ok().map(drop)
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        drop(self.lighter(&["stop", "--quit", "--force"]).finish());
        drop(self.lighter(&["delete", "--force"]).finish());
    }
}

fn grows(s: &Session) -> Result<()> {
    let other = Other::instead(s, "grown")?;
    other.start(&["--disk", "1"])?;
    same("written", other.guest(&fill("/data/kept"))?, "written".to_owned())?;
    let size = || -> Result<u64> {
        let blocks = other.guest("df -k /data | tail -n 1 | awk '{ print $2 }'")?;
        Ok(blocks.parse::<u64>().context(blocks)? >> 10)
    };
    let before = size()?;
    ensure!((850..=1024).contains(&before), "a disk of 1 GiB shows {before} MiB");
    other.stop()?;
    other.start(&["--disk", "2"])?;
    let after = size()?;
    ensure!((1850..=2048).contains(&after), "the disk went from {before} to {after} MiB, expected nearly 2048");
    same("after growing", other.guest(&compare("/data/kept"))?, "same".to_owned())?;
    // The new part takes data too: a file that the old disk could not hold beside what is there, written at its end.
    other.guest(
        "fallocate -l 1100m /data/new && dd if=/dev/zero of=/data/new bs=1M seek=1084 count=16 conv=notrunc,fsync && rm /data/new",
    )?;
    other.stop()?;
    other.is_sound()?;
    other.start(&[])?;
    same("size after another start", size()?, after)?;
    same("after another start", other.guest(&compare("/data/kept"))?, "same".to_owned())?;
    drop(other);
    s.start()
}

/// A small file system in memory, mounted until this is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, size: &str) -> Result<Self> {
        std::fs::create_dir_all(&at)?;
        Run::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "small"]).args([&at]).ok()?;
        Ok(Self(at))
    }

    /// Makes it so small that just so many MiB are left.
    fn leave(&self, mib: u64) -> Result<()> {
        let about = rustix::fs::statvfs(&self.0)?;
        let used = (about.f_blocks - about.f_bfree) * about.f_frsize;
        self.resize(&format!("{}k", (used >> 10) + (mib << 10)))
    }

    fn resize(&self, size: &str) -> Result<()> {
        Run::new("mount").args(["-o", &format!("remount,size={size}")]).args([&self.0]).ok().map(drop)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Run::new("umount").args([&self.0]).finish());
    }
}

fn full_host(s: &Session) -> Result<()> {
    if !geteuid().is_root() {
        println!(
            "    SKIPPED: full_host_makes_writes_wait_and_loses_none has to mount a small file system, so it needs root"
        );
        return Ok(());
    }
    let small = Small::mount(s.dir.join("home/full"), "400m")?;
    let other = Other::instead(s, "full")?;
    other.start(&["--disk", "1"])?;
    small.leave(LEFT)?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| other.guest(&fill("/data/kept")));
        let waiting = wait_for_reason(&other, |reason| reason.is_some_and(|text| text.contains("no space left")));
        let meanwhile = waiting.and_then(|()| {
            ensure!(!writer.is_finished(), "the guest's write ended although there is no space for it");
            same("the guest meanwhile", other.guest("echo alive")?, "alive".to_owned())?;
            same("state", other.status()?["state"].as_str(), Some("running"))
        });
        small.resize("1g")?;
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        meanwhile?;
        same("the write that had to wait", written?, "written".to_owned())?;
        wait_for_reason(&other, |reason| reason.is_none())
    })?;
    same("what was written", other.guest(&compare("/data/kept"))?, "same".to_owned())?;
    other.stop()?;
    other.is_sound()?;
    other.start(&[])?;
    same("after a restart", other.guest(&compare("/data/kept"))?, "same".to_owned())?;
    drop(other);
    drop(small);
    s.start()
}

fn wait_for_reason(other: &Other<'_>, enough: impl Fn(Option<&str>) -> bool) -> Result<()> {
    let end = Instant::now() + other.s.seconds(120);
    loop {
        let status = other.status()?;
        if enough(status["reason"].as_str()) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "status keeps saying {status}");
    }
}
