//! The servers that are compared: started, asked what they did, and what processor time they took. Called by `run`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::tree;
use crate::process::wait;

/// QEMU's own, which later releases have no more.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A child that ends when this does.
pub struct Held(pub Child);

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself, as servers do when their guest is gone.
        drop(self.0.kill());
        drop(wait(&mut self.0, Duration::from_secs(10)));
    }
}

/// One server with the folder that it serves.
pub struct Server {
    /// By which it is shown, and the tag under which the guest finds it.
    pub name: &'static str,
    /// The folder.
    pub folder: PathBuf,
    /// Where it listens, if it is a process of its own.
    pub socket: Option<PathBuf>,
    child: Option<Held>,
    /// Ours can be asked.
    counts: Option<(ChildStdin, BufReader<ChildStdout>)>,
    /// The rate that ours says a guest's time stamp counter has.
    pub khz: u64,
}

/// Ours first.
pub fn start(dir: &Path, ours: &Path, rust: Option<&Path>, large: bool, ninep: bool) -> Result<Vec<Server>> {
    let mut all = vec![Server::start(dir, "lighter", large, |folder, socket| {
        let mut command = Command::new(ours);
        command.arg(folder).arg(socket);
        command
    })?];
    all.push(Server::start(dir, "virtiofsd", large, |folder, socket| {
        let mut command = Command::new(VIRTIOFSD);
        command.arg(format!("--socket-path={}", socket.display()));
        command.arg("-o").arg(format!("source={},cache=auto", folder.display()));
        command
    })?);
    match rust {
        Some(rust) => all.push(Server::start(dir, "virtiofsd-rs", large, |folder, socket| {
            let mut command = Command::new(rust);
            command.arg("--socket-path").arg(socket).arg("--shared-dir").arg(folder).arg("--cache=auto");
            command
        })?),
        None => eprintln!("no virtiofsd in Rust on the PATH (cargo install virtiofsd), so it is left out"),
    }
    if ninep {
        all.push(Server::of_qemu(dir, "9p", large)?);
    }
    // Nothing of this is to be written to the disk while something is measured.
    rustix::fs::sync();
    Ok(all)
}

/// A virtiofsd on the PATH.
pub fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("virtiofsd")).find(|path| path.is_file())
}

impl Server {
    fn start(
        dir: &Path,
        name: &'static str,
        large: bool,
        command: impl FnOnce(&Path, &Path) -> Command,
    ) -> Result<Self> {
        let (folder, socket) = (dir.join(name), dir.join(format!("{name}.sock")));
        eprintln!("a tree for {name}");
        tree::make(&folder, large)?;
        let mut command = command(&folder, &socket);
        let log = File::create(dir.join(format!("{name}.log")))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = Held(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        let pipes = child.0.stdin.take().zip(child.0.stdout.take().map(BufReader::new));
        let end = Instant::now() + START;
        while !std::fs::metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
            ensure!(Instant::now() < end && child.0.try_wait()?.is_none(), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let counts = pipes.filter(|_| name == "lighter");
        let mut server = Self { name, folder, socket: Some(socket), child: Some(child), counts, khz: 0 };
        if let Some((_, said)) = &mut server.counts {
            let mut line = String::new();
            said.read_line(&mut line)?;
            server.khz = line.trim().strip_prefix("ready ").and_then(|khz| khz.parse().ok()).context("ready")?;
        }
        Ok(server)
    }

    /// A folder that QEMU itself serves.
    fn of_qemu(dir: &Path, name: &'static str, large: bool) -> Result<Self> {
        let folder = dir.join(name);
        eprintln!("a tree for {name}");
        tree::make(&folder, large)?;
        Ok(Self { name, folder, socket: None, child: None, counts: None, khz: 0 })
    }

    /// How many requests came so far for which somebody waited, if it can tell: all but FORGET, RELEASE, INTERRUPT, RELEASEDIR and
    /// BATCH_FORGET.
    pub fn round_trips(&mut self) -> Result<Option<f64>> {
        const UNWAITED: [&str; 5] = ["2", "18", "36", "29", "42"];
        let Some((ask, said)) = &mut self.counts else { return Ok(None) };
        writeln!(ask)?;
        let mut line = String::new();
        said.read_line(&mut line)?;
        let counts = line.split_whitespace().filter_map(|word| word.split_once(':'));
        let waited = counts.filter(|(opcode, _)| !UNWAITED.contains(opcode));
        Ok(Some(waited.filter_map(|(_, count)| count.parse::<f64>().ok()).sum()))
    }

    /// Processor time so far, of the process and the children in which virtiofsd does its work; not a number where that is QEMU,
    /// which does all else besides.
    pub fn processor_seconds(&self) -> Result<f64> {
        self.child.as_ref().map_or(Ok(f64::NAN), |child| Ok(nanos_below(child.0.id())? as f64 / 1e9))
    }
}

/// Of a process with all its threads and children, from `schedstat`: ticks are too coarse.
fn nanos_below(pid: u32) -> Result<u64> {
    let mut all = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        all += read("schedstat").split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        for child in read("children").split_whitespace().filter_map(|child| child.parse().ok()) {
            all += nanos_below(child)?;
        }
    }
    Ok(all)
}
