//! What a client's session says, check by check: those made here, and those that a program in another language makes and
//! reports. Such a program prints one JSON object a line: `{"begin":"NAME"}`, then `{"ok":"NAME"}` or
//! `{"failed":"NAME","why":"…"}`, and `{"done":true}` at its end, so that one that stops early is found out.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::wait;

/// The checks of one client.
pub struct Report {
    client: &'static str,
    /// Parts of the names of the checks to run, none means all; with a dash in front, of those to leave out.
    wanted: Vec<String>,
    pub passed: u32,
    pub failed: Vec<String>,
}

/// A line of a program's report.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct Line {
    begin: Option<String>,
    ok: Option<String>,
    failed: Option<String>,
    why: Option<String>,
    done: Option<bool>,
}

impl Report {
    pub fn new(client: &'static str, wanted: Vec<String>) -> Self {
        Self { client, wanted, passed: 0, failed: Vec::new() }
    }

    /// Runs a check, unless others were asked for.
    pub fn check(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        let (left_out, wanted): (Vec<&str>, Vec<&str>) =
            self.wanted.iter().map(String::as_str).partition(|word| word.starts_with('-'));
        let is_named = |words: &[&str]| words.iter().any(|word| name.contains(word.trim_start_matches('-')));
        if is_named(&left_out) || !wanted.is_empty() && !is_named(&wanted) {
            return;
        }
        let started = Instant::now();
        match run() {
            Ok(()) => self.passed(name, started),
            Err(error) => self.failed_after(name, &format!("{error:#}"), started),
        }
    }

    /// A check that failed, with the client's own words.
    pub fn failed(&mut self, name: &str, why: &str) {
        self.failed_after(name, why, Instant::now());
    }

    fn passed(&mut self, name: &str, started: Instant) {
        self.passed += 1;
        self.line(name, "ok", started, "");
    }

    fn failed_after(&mut self, name: &str, why: &str, started: Instant) {
        self.failed.push(format!("{}/{name}", self.client));
        self.line(name, "FAILED", started, why);
    }

    fn line(&self, name: &str, verdict: &str, started: Instant, why: &str) {
        let (client, seconds) = (self.client, started.elapsed().as_secs_f64());
        println!("clients: {client:<21} {name:<46} {verdict:<6} {seconds:6.1} s");
        for line in why.lines() {
            println!("    {line}");
        }
    }

    /// Runs a program that makes and reports checks; words on its command line select them. It is ended when one check
    /// takes longer than `patience`.
    pub fn program(&mut self, mut command: Command, patience: Duration) -> Result<()> {
        command.args(&self.wanted).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.client))?;
        let lines = lines(child.stdout.take().context("no pipe")?);
        let words = words(child.stderr.take().context("no pipe")?);
        let told = self.follow(&lines, patience);
        if told.is_err() {
            drop(child.kill());
        }
        let status = wait(&mut child, Duration::from_secs(30));
        // The program may have left children that hold its output; what has come by now is what there is to tell.
        let words = words.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        let words = words.trim();
        told.with_context(|| format!("{} said: {words}", self.client))?;
        let status = status.with_context(|| format!("{} after its last check: {words}", self.client))?;
        ensure!(status.success() || !self.failed.is_empty(), "{} ended with {status}: {words}", self.client);
        Ok(())
    }

    fn follow(&mut self, lines: &Receiver<String>, patience: Duration) -> Result<()> {
        let (mut current, mut started) = (String::from("its start"), Instant::now());
        loop {
            let line = match lines.recv_timeout(patience.saturating_sub(started.elapsed())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("`{current}` hangs, {} s by now", patience.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("the program ended in `{current}`"),
            };
            let line: Line = serde_json::from_str(&line).with_context(|| format!("not a line of a report: {line}"))?;
            if let Some(name) = line.begin {
                (current, started) = (name, Instant::now());
            } else if let Some(name) = line.ok {
                self.passed(&name, started);
            } else if let Some(name) = line.failed {
                self.failed_after(&name, line.why.as_deref().unwrap_or_default(), started);
            } else {
                ensure!(line.done == Some(true), "an empty line of a report");
                return Ok(());
            }
        }
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Nobody listens any more after the last line or the deadline.
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok()
    });
    receiver
}

fn words(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}
