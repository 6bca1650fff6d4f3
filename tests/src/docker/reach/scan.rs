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

/// Bounds for one address in seconds: all of TCP, and the sample of UDP. The first is for a stuck scan only.
const TCP_SECONDS: u64 = 150;
const UDP_SECONDS: u64 = 10;
/// For everything.
const SECONDS: u64 = 840;
/// Of an address whose ports are all asked, at least those of the system are asked by datagrams too.
const LEAST_UDP: usize = 1023;
const ALL: usize = 65_535;

/// What was said.
pub struct Scan {
    lines: Vec<String>,
}

impl Scan {
    /// By a container with these options of `docker create`.
    pub fn in_a_container(s: &Session, options: &[&str], targets: &[String]) -> Result<Scan> {
        Ok(Self::said(&meter(s, options, &words(targets), SECONDS)?))
    }

    /// By the same program in the namespace of the calling thread.
    pub fn by(program: &Path, targets: &[String]) -> Result<Scan> {
        let run = Run::new(program).args(words(targets)).within(std::time::Duration::from_secs(SECONDS));
        Ok(Self::said(&run.ok()?.text()))
    }

    fn said(text: &str) -> Scan {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.iter().filter(|line| line.starts_with("swept ")).for_each(|line| println!("    {line}"));
        Scan { lines }
    }

    /// Fails unless exactly these ports were open, all were asked, and none was silent but of `may_be_silent`.
    pub fn must_be(&self, allowed: Vec<Allowed>, may_be_silent: &[&str]) -> Result<()> {
        let want: BTreeSet<String> =
            allowed.iter().map(|(protocol, address, port)| format!("open {protocol} {address} {port}")).collect();
        let found: BTreeSet<String> = self.starting("open ").cloned().collect();
        let more: Vec<_> = found.difference(&want).collect();
        let less: Vec<_> = want.difference(&found).collect();
        ensure!(more.is_empty() && less.is_empty(), "open beyond what is allowed: {more:?}; missing: {less:?}");
        let once: Vec<_> = self.starting("once ").collect();
        ensure!(once.is_empty(), "open, and closed when asked again (a host's socket that met itself?): {once:?}");
        let is_known = |line: &str| may_be_silent.iter().any(|address| line.split(' ').nth(2) == Some(address));
        let silent: Vec<_> = self.starting("silent ").filter(|line| !is_known(line)).collect();
        ensure!(silent.is_empty(), "neither answered nor refused: {silent:?}");
        ensure!(self.starting("swept ").next().is_some(), "nothing was asked");
        self.starting("swept ").try_for_each(|line| complete(line, is_known(line)))
    }

    fn starting<'a>(&'a self, word: &'static str) -> impl Iterator<Item = &'a String> {
        self.lines.iter().filter(move |line| line.starts_with(word))
    }
}

fn words(targets: &[String]) -> Vec<String> {
    let times = [TCP_SECONDS, UDP_SECONDS].map(|seconds| seconds.to_string());
    ["scan".to_owned()].into_iter().chain(times).chain(targets.iter().cloned()).collect()
}

/// Whether `swept PROTOCOL ADDRESS asked N of N open N closed N …` says that enough was asked, and that somebody refused: where
/// all is silent, nothing may have been asked at all.
fn complete(line: &str, may_be_silent: bool) -> Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| -> Result<usize> {
        words.get(at).and_then(|word| word.parse().ok()).with_context(|| format!("not understood: {line}"))
    };
    let (asked, of, open, closed) = (number(4)?, number(6)?, number(8)?, number(10)?);
    if words.get(1) == Some(&TCP) || of < ALL {
        same(line, asked, of)?;
    }
    ensure!(asked >= of.min(LEAST_UDP), "too few ports were asked: {line}");
    ensure!(may_be_silent || open + closed > 0, "nobody answered: {line}");
    Ok(())
}
