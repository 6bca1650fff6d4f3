//! The server with a folder of its own, mounted; alone or under strace. Called by the parts of `soak folders`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::wait;

/// How long it may take to mount, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; its mount goes with it.
pub struct Mounted {
    /// The folder that is shared, as the host has it.
    pub host: PathBuf,
    /// The same folder through the server.
    pub share: PathBuf,
    mount: PathBuf,
    child: Child,
    /// The server itself, which is strace's child if it is traced.
    server: Pid,
    /// Its number may be another's by now.
    is_over: bool,
    /// What strace says.
    pub log: Option<File>,
}

impl Mounted {
    /// Shares the folder `host` of `place` with `words` for the rig; `traced`: under strace.
    pub fn start(rig: &Path, place: &Path, words: &[&str], traced: bool) -> Result<Mounted> {
        let [host, mount] = ["host", "mount"].map(|name| place.join(name));
        for folder in [&host, &mount] {
            std::fs::create_dir_all(folder)?;
        }
        let pipe = place.join("log");
        let mut command = Command::new(if traced { Path::new("strace") } else { rig });
        if traced {
            mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            // Every descriptor with what it is open on.
            command.args(["-f", "-qq", "-y", "-e", "trace=%file,open_by_handle_at", "-o"]).args([&pipe]).arg(rig);
        }
        command.args([&host, &mount]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("start {}", rig.display()))?;
        let log = traced.then(|| File::open(&pipe)).transpose()?;
        let (before, end) = (std::fs::metadata(place)?.dev(), Instant::now() + PATIENCE);
        while std::fs::metadata(&mount)?.dev() == before {
            ensure!(child.try_wait()?.is_none(), "the server ended before it mounted");
            ensure!(Instant::now() < end, "nothing is mounted after {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
        let own = Pid::from_child(&child);
        let server = if traced { child_of(own)? } else { own };
        Ok(Mounted { share: mount.join("share"), host, mount, child, server, is_over: false, log })
    }

    /// Resident memory in KiB, and open descriptors.
    pub fn taken(&self) -> Result<(u64, usize)> {
        let of = Path::new("/proc").join(self.child.id().to_string());
        let status = std::fs::read_to_string(of.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib = line.split_whitespace().next().context("no number")?.parse()?;
        Ok((kib, std::fs::read_dir(of.join("fd"))?.count()))
    }

    /// Takes the mount away; the server ends by that.
    pub fn end(mut self) -> Result<()> {
        unmount(&self.mount, UnmountFlags::DETACH)?;
        self.wait()
    }

    /// Ends the server of a mount that has no path any more, because it is this process's root.
    pub fn leave(mut self) -> Result<()> {
        // Not strace, which would take what it has not written yet with it.
        kill_process(self.server, Signal::TERM)?;
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        // Whoever does not end in time is killed.
        let ended = wait(&mut self.child, PATIENCE).context("the server");
        self.is_over = true;
        ended.map(drop)
    }
}

fn child_of(parent: Pid) -> Result<Pid> {
    let parent = parent.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    let first = children.split_whitespace().next().context("strace has no child")?;
    Pid::from_raw(first.parse()?).context("no process has the number 0")
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // What is left behind by a fault goes as far as it goes.
        let _ = unmount(&self.mount, UnmountFlags::DETACH);
        let _ = kill_process(self.server, Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
