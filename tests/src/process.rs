//! Child processes with a deadline: every command that the tool or a rig runs goes through [`Run`]. A child that outlives its
//! deadline is killed and the error names the command and what it had printed.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How much of a stream is kept; the rest is read and dropped so that the child never blocks on a full pipe.
const KEEP: usize = 8 << 20;

/// A command being put together.
pub struct Run {
    command: Command,
    words: Vec<OsString>,
    stdin: Option<Box<dyn Read + Send>>,
    deadline: Duration,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output, at most 8 MiB of it.
    pub stdout: Vec<u8>,
    /// Standard error, at most 8 MiB of it.
    pub stderr: Vec<u8>,
    /// Bytes that stdout carried in total.
    pub stdout_bytes: u64,
    /// SHA-256 of all of stdout, hex.
    pub stdout_sha256: String,
    /// From the start of the command to the first byte of stdout, if there was one.
    pub first_byte: Option<Duration>,
}

impl Finished {
    /// Standard output as text, trimmed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error as text, trimmed.
    pub fn talk(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

impl Run {
    /// Starts with the program; two minutes of deadline.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let words = vec![program.as_ref().to_owned()];
        Self { command: Command::new(program), words, stdin: None, deadline: Duration::from_secs(120) }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.words.push(arg.as_ref().to_owned());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Removes an environment variable.
    pub fn without_env(mut self, key: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Without the proxies of whoever runs this: what is asked here is on this host or in a made-up world.
    pub fn without_proxies(self) -> Self {
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
        names.into_iter().fold(self, |run, name| run.without_env(name).without_env(name.to_lowercase()))
    }

    /// Runs in a directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Feeds standard input from a reader, then closes it. Without this it is empty.
    pub fn stdin(mut self, input: impl Read + Send + 'static) -> Self {
        self.stdin = Some(Box::new(input));
        self
    }

    /// Kills the command when it takes longer.
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The command as one line.
    pub fn line(&self) -> String {
        self.words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// The command as it was put together, for a caller that follows it while it runs.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs with the terminal's own output; only the exit status matters.
    pub fn show(mut self) -> Result<()> {
        let line = self.line();
        self.command.stdin(Stdio::null());
        let mut child = self.command.spawn().with_context(|| format!("cannot run `{line}`"))?;
        let status = wait(&mut child, self.deadline).with_context(|| format!("`{line}`"))?;
        if status.success() { Ok(()) } else { bail!("`{line}` ended with {status}") }
    }

    /// Runs to the end, whatever the exit status.
    pub fn finish(mut self) -> Result<Finished> {
        let line = self.line();
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let begun = Instant::now();
        let mut child = self.command.spawn().with_context(|| format!("cannot run `{line}`"))?;
        if let (Some(mut input), Some(mut pipe)) = (self.stdin.take(), child.stdin.take()) {
            // A child that does not want its input closes the pipe; that is its right. A reader that never ends keeps only
            // this thread, which the exit of the tool ends.
            thread::spawn(move || drop(std::io::copy(&mut input, &mut pipe).and_then(|_| pipe.flush())));
        }
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = wait(&mut child, self.deadline);
        let patience = if status.is_ok() { Duration::from_secs(20) } else { Duration::from_secs(1) };
        let (out, err) = (stdout.recv_timeout(patience), stderr.recv_timeout(patience));
        let status = status.with_context(|| {
            let said = err.as_ref().map(|err| String::from_utf8_lossy(&err.kept).into_owned()).unwrap_or_default();
            format!("`{line}`: {}", said.trim())
        })?;
        let out = out.map_err(|_| anyhow!("`{line}` ended but something holds its output open"))?;
        let err = err.map_err(|_| anyhow!("`{line}` ended but something holds its error output open"))?;
        Ok(Finished {
            status,
            stdout: out.kept,
            stderr: err.kept,
            stdout_bytes: out.bytes,
            stdout_sha256: out.sha256,
            first_byte: out.first.map(|first| first - begun),
        })
    }

    /// Runs to the end and insists on success.
    pub fn ok(self) -> Result<Finished> {
        let line = self.line();
        let done = self.finish()?;
        if !done.status.success() {
            bail!("`{line}` ended with {}: {}", done.status, done.talk());
        }
        Ok(done)
    }
}

struct Collected {
    kept: Vec<u8>,
    bytes: u64,
    sha256: String,
    first: Option<Instant>,
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Collected> {
    use sha2::Digest;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut kept, mut bytes, mut hash) = (Vec::new(), 0u64, sha2::Sha256::new());
        let mut buffer = vec![0u8; 64 << 10];
        let mut first = None;
        if let Some(mut pipe) = pipe {
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                first.get_or_insert_with(Instant::now);
                bytes += count as u64;
                hash.update(&buffer[..count]);
                kept.extend_from_slice(&buffer[..count.min(KEEP.saturating_sub(kept.len()))]);
            }
        }
        let sha256 = hex(&hash.finalize());
        // Nobody listens any more when the deadline has passed.
        drop(sender.send(Collected { kept, bytes, sha256, first }));
    });
    receiver
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits for a child; kills and reaps it when the deadline passes.
pub fn wait(child: &mut Child, deadline: Duration) -> Result<ExitStatus> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            drop(child.kill());
            drop(child.wait());
            bail!("did not end within {} s and was killed", deadline.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
