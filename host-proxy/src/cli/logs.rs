//! `lighter logs`: the daemon's and the console's log from their files, the guest's own logs from its agent.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use lighter_protocol::wire::StreamFrame;
use lighter_protocol::{LogSource, Request};

use super::{Target, block_on};
use crate::agent;
use crate::frames;
use crate::plain::Harmless;
use crate::sys::changes::Changes;

/// A followed file is looked at after each change, and so often in case one was not told.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Logs {
    /// Which log.
    #[arg(value_enum, default_value = "daemon")]
    source: Source,
    /// Go on with new lines until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u32>,
    /// As JSON, one object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Source {
    /// What lighter does on this host.
    Daemon,
    /// What the guest's kernel prints.
    Console,
    /// dockerd in the guest.
    Dockerd,
    /// containerd in the guest.
    Containerd,
    /// The guest kernel's ring buffer.
    Kernel,
    /// The guest's agent.
    Agent,
}

impl Logs {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let source = self.source.to_possible_value().map(|value| value.get_name().to_owned()).filter(|_| self.json);
        let mut out =
            Out { harmless: Harmless::default(), guard: io::stdout().is_terminal(), source, line: Vec::new() };
        let result = match self.source {
            Source::Daemon => self.file(&target.profile.daemon_log(), &mut out),
            Source::Console => self.file(&target.profile.console_log(), &mut out),
            Source::Dockerd => self.guest(target, LogSource::Dockerd, &mut out),
            Source::Containerd => self.guest(target, LogSource::Containerd, &mut out),
            Source::Kernel => self.guest(target, LogSource::Kernel, &mut out),
            Source::Agent => self.guest(target, LogSource::Agent, &mut out),
        };
        match result.and_then(|()| Ok(out.end()?)) {
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            other => other.map(|()| ExitCode::SUCCESS),
        }
    }

    fn file(&self, path: &Path, out: &mut Out) -> anyhow::Result<()> {
        let open =
            || File::open(path).with_context(|| format!("Cannot read {}: `lighter start` makes it", path.display()));
        let mut file = open()?;
        // Before the first look, so that nothing can come between look and wait.
        let mut changes = self.follow.then(|| Changes::of(path)).transpose()?;
        let mut at = self.tail.map_or(Ok(0), |lines| tail_start(&mut file, lines))?;
        loop {
            // Bounded by what is there now; a writer cannot keep us here for ever.
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(at))?;
            at += io::copy(&mut (&mut file).take(end.saturating_sub(at)), out)?;
            let Some(watch) = &changes else { return Ok(()) };
            watch.wait(LOOK)?;
            let moved =
                File::open(path).is_ok_and(|named| !crate::sys::files::is_at(&file, path) && named.metadata().is_ok());
            if moved {
                io::copy(&mut file, out)?;
                changes = Some(Changes::of(path)?);
                file = open()?;
                at = 0;
            } else if file.metadata()?.len() < at {
                at = 0;
            }
        }
    }

    fn guest(&self, target: &Target, source: LogSource, out: &mut Out) -> anyhow::Result<()> {
        block_on(async {
            let request = Request::Logs { source, follow: self.follow, tail: self.tail };
            let mut stream = agent::stream(&target.profile.control_socket(), &request).await?;
            loop {
                match frames::read_stream(&mut stream).await? {
                    StreamFrame::Stdout(bytes) | StreamFrame::Stderr(bytes) => out.write_all(&bytes)?,
                    StreamFrame::Exit(_) => return Ok(()),
                    StreamFrame::Stdin(_) | StreamFrame::Resize(..) => (),
                }
            }
        })
    }
}

/// Longest line that becomes one JSON object, in bytes; what is longer becomes several.
const LONGEST_LINE: usize = 64 * 1024;

/// Standard output; a terminal gets no control characters of the guest.
struct Out {
    harmless: Harmless,
    guard: bool,
    /// Name of the log, if each line is to be an object.
    source: Option<String>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl Out {
    /// The line that has no end.
    fn end(&mut self) -> io::Result<()> {
        if self.line.is_empty() { Ok(()) } else { self.object() }
    }

    fn object(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let object = serde_json::json!({ "source": self.source, "line": line });
        writeln!(io::stdout().lock(), "{object}")
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.source.is_some() {
            for &byte in bytes {
                if byte != b'\n' {
                    self.line.push(byte);
                }
                if byte == b'\n' || self.line.len() >= LONGEST_LINE {
                    self.object()?;
                }
            }
            return Ok(bytes.len());
        }
        let mut stdout = io::stdout().lock();
        if self.guard {
            stdout.write_all(&self.harmless.filter(bytes))?
        } else {
            stdout.write_all(bytes)?
        }
        stdout.flush()?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Where the last `lines` lines begin; reads backwards, so that a long log costs nothing.
fn tail_start(file: &mut File, lines: u32) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let mut block = vec![0; 64 * 1024];
    let (mut start, mut seen) = (end, 0);
    while start > 0 {
        let length = start.min(block.len() as u64);
        start -= length;
        let bytes = &mut block[..length as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)?;
        for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The new line at the very end closes the last line.
            if after < end || lines == 0 {
                seen += 1;
                if seen >= lines {
                    return Ok(after);
                }
            }
        }
    }
    Ok(0)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str, lines: u32) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let start = tail_start(&mut file, lines).unwrap();
        text[usize::try_from(start).unwrap()..].to_owned()
    }

    #[test]
    fn the_last_lines_of_a_log_are_found_in_files_of_any_length() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a\n", 9), "a\n");
        assert_eq!(tail("", 3), "");
        assert_eq!(tail("a\nb\n", 0), "");
        let long = "x".repeat(100_000);
        assert_eq!(tail(&format!("a\n{long}\nb\n"), 2), format!("{long}\nb\n"));
    }
}
