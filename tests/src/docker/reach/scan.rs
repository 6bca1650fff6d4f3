//! A scan by the measuring client, and what it must have found. Called by the cases of `reach`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::super::{Session, same};
use super::meter;
use crate::process::Run;

/// Protocols as the scan prints them.
pub const TCP: &str = "tcp";
pub const UDP: &str = "udp";

/// Protocol, address, port.
pub type Allowed = (&'static str, String, u16);

/// How many of an address's UDP ports are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Datagrams {
    /// Those of the system, and as many others as there is time for.
    Sample,
    /// Each.
    All,
}

impl Datagrams {
    /// Bound for one address in seconds. That of all is for a stuck scan only.
    fn seconds(self) -> u64 {
        match self {
            Datagrams::Sample => 3,
            Datagrams::All => 600,
        }
    }
}

/// The same for TCP, whose ports are all asked always.
const TCP_SECONDS: u64 = 150;
/// For everything.
const SECONDS: u64 = 2400;
/// Of an address whose ports are all asked, at least those of the system are asked by datagrams too.
const LEAST_UDP: usize = 1023;
const ALL: usize = 65_535;

/// What was said.
pub struct Scan {
    lines: Vec<String>,
    datagrams: Datagrams,
}

impl Scan {
    /// By a container with these options of `docker create`.
    pub fn in_a_container(s: &Session, options: &[&str], targets: &[String], datagrams: Datagrams) -> Result<Scan> {
        Ok(Self::said(&meter(s, options, &words(targets, datagrams, s.patience), SECONDS)?, datagrams))
    }

    /// By the same program in the namespace of the calling thread.
    pub fn by(program: &Path, targets: &[String]) -> Result<Scan> {
        let words = words(targets, Datagrams::Sample, 1);
        let run = Run::new(program).args(words).within(std::time::Duration::from_secs(SECONDS));
        Ok(Self::said(&run.ok()?.text(), Datagrams::Sample))
    }

    fn said(text: &str, datagrams: Datagrams) -> Scan {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.iter().filter(|line| line.starts_with("swept ")).for_each(|line| println!("    {line}"));
        Scan { lines, datagrams }
    }

    /// Fails unless exactly these ports were open, all were asked, and none was silent but of `may_be_silent`.
    pub fn must_be(&self, allowed: Vec<Allowed>, may_be_silent: &[&str]) -> Result<()> {
        let is_known = |line: &str| may_be_silent.iter().any(|address| line.split(' ').nth(2) == Some(address));
        // First of all: one that was cut short found less than there is.
        ensure!(self.starting("swept ").next().is_some(), "nothing was asked");
        self.starting("swept ").try_for_each(|line| complete(line, is_known(line), self.datagrams))?;
        let want: BTreeSet<String> =
            allowed.iter().map(|(protocol, address, port)| format!("open {protocol} {address} {port}")).collect();
        let found: BTreeSet<String> = self.starting("open ").cloned().collect();
        let more: Vec<_> = found.difference(&want).collect();
        let less: Vec<_> = want.difference(&found).collect();
        ensure!(more.is_empty() && less.is_empty(), "open beyond what is allowed: {more:?}; missing: {less:?}");
        let once: Vec<_> = self.starting("once ").collect();
        ensure!(once.is_empty(), "open, and closed when asked again (a host's socket that met itself?): {once:?}");
        let silent: Vec<_> = self.starting("silent ").filter(|line| !is_known(line)).collect();
        ensure!(silent.is_empty(), "neither answered nor refused: {silent:?}");
        Ok(())
    }

    fn starting<'a>(&'a self, word: &'static str) -> impl Iterator<Item = &'a String> {
        self.lines.iter().filter(move |line| line.starts_with(word))
    }
}

/// The bounds are stretched where the guest is slow: a scan that is cut short finds less.
fn words(targets: &[String], datagrams: Datagrams, patience: u32) -> Vec<String> {
    let times = [TCP_SECONDS * u64::from(patience), datagrams.seconds()].map(|seconds| seconds.to_string());
    ["scan".to_owned()].into_iter().chain(times).chain(targets.iter().cloned()).collect()
}

/// Whether `swept PROTOCOL ADDRESS asked N of N open N closed N …` says that enough was asked, and that somebody refused: where
/// all is silent, nothing may have been asked at all.
fn complete(line: &str, may_be_silent: bool, datagrams: Datagrams) -> Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| -> Result<usize> {
        words.get(at).and_then(|word| word.parse().ok()).with_context(|| format!("not understood: {line}"))
    };
    let (asked, of, open, closed) = (number(4)?, number(6)?, number(8)?, number(10)?);
    if words.get(1) == Some(&TCP) || of < ALL || datagrams == Datagrams::All {
        same(line, asked, of)?;
    }
    ensure!(asked >= of.min(LEAST_UDP), "too few ports were asked: {line}");
    ensure!(may_be_silent || open + closed > 0, "nobody answered: {line}");
    Ok(())
}
