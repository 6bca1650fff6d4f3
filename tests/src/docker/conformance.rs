//! The conformance suite (`tests/conformance`) against two sockets: lighter's on this host, and dockerd's own from a container in
//! the guest. A case passes when it holds on both and what came is the same, but for what is named in [`DIFFERENT`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{BUSYBOX, Case, Session};
use crate::bench::private_memory;
use crate::process::{Finished, Run};

/// Why lighter itself refuses some bodies, in words of its own.
const UNREADABLE: &str =
    "paths of the host may stand in this body, so what cannot be read as JSON does not go on to dockerd";

/// Cases in which lighter answers otherwise than dockerd, and why that is meant.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "framing.bare_line_feeds",
        "two readers of the same bytes must not disagree on where a line ends, so it is refused",
    ),
    ("framing.unknown_transfer_coding", "it is refused as every other malformed head is, with 400 instead of 501"),
    (
        "framing.half_closed_behind_the_request",
        "a client that ends its sending behind a request gets its answer; dockerd cancels the request, if it is quick enough",
    ),
    (
        "attach.stdin_glued_to_the_request",
        "input that comes with the request reaches the process; dockerd drops it when it takes the connection over",
    ),
    (
        "framing.expect_continue",
        "a body that is looked at first is asked for with a 100 of its own, and dockerd's follows",
    ),
    ("framing.client_leaves_in_the_middle_of_a_body", UNREADABLE),
    ("errors.container_create_malformed", UNREADABLE),
    ("errors.container_create_not_an_object", UNREADABLE),
    ("errors.container_create_two_values", UNREADABLE),
    (
        "create.binds_given_twice",
        "of two readers of a body one would take the first and one the last, so it is refused",
    ),
];

/// Those of them that dockerd sometimes answers as lighter does.
const CHANCE: &[&str] = &["framing.half_closed_behind_the_request"];

/// The case's name.
pub const NAME: &str = "conformance";

/// The image that holds the suite.
const IMAGE: &str = "conformance:latest";

/// How much the daemon's private memory may grow while a gigabyte streams through it, in KiB: its buffers and the allocator's slack.
const GROWTH_KIB: u64 = 8 << 10;

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![Case { name: NAME, run: conformance }]
}

/// What one case said on one socket.
struct Record {
    error: Option<String>,
    milliseconds: u64,
    lines: Vec<String>,
}

/// What all cases said on one socket.
struct Transcript {
    name: &'static str,
    records: BTreeMap<String, Record>,
}

fn conformance(s: &Session) -> Result<()> {
    import(s)?;
    let (ours, memory) = watched(s, || on_the_host(s))?;
    let theirs = in_the_guest(s)?;
    s.out(&["rmi", "-f", IMAGE])?;
    ensure!(!ours.records.is_empty(), "no case of the suite is named {:?}", s.words);
    println!(
        "    {} cases; {}; {}; daemon's private memory {memory}",
        ours.records.len(),
        ours.times(),
        theirs.times()
    );
    let faults = faults(&ours, &theirs);
    faults.iter().for_each(|fault| println!("    {fault}"));
    ensure!(faults.is_empty(), "{} cases do not conform", faults.len());
    Ok(())
}

fn import(s: &Session) -> Result<()> {
    let folder = s.conformance.parent().context("a file has a folder")?;
    let name = s.conformance.file_name().context("a file has a name")?;
    let tar = s.dir.join("conformance.tar");
    Run::new("tar")
        .args(["-C"])
        .args([folder])
        .args(["--owner=0", "--group=0", "-cf"])
        .args([&tar])
        .args([name])
        .ok()?;
    s.docker(["import"]).args([&tar]).args([IMAGE]).ok().map(drop)
}

/// The suite's own arguments.
fn arguments(s: &Session, socket: &str) -> Vec<String> {
    let deadline = s.seconds(120).as_secs().to_string();
    let fixed = ["--socket", socket, "--image", BUSYBOX, "--deadline", &deadline].map(str::to_owned);
    let words = s.words.iter().filter(|word| word.contains('.')).cloned();
    fixed.into_iter().chain(words).collect()
}

fn on_the_host(s: &Session) -> Result<Transcript> {
    let socket = s.dir.join("home/default/docker.sock");
    let run = Run::new(&s.conformance).args(arguments(s, &socket.to_string_lossy()));
    Transcript::read("lighter's socket", run.within(s.seconds(1800)).finish()?)
}

fn in_the_guest(s: &Session) -> Result<Transcript> {
    let socket = "/var/run/docker.sock";
    let run = s.docker(["run", "--rm", "--network", "none", "-v", &format!("{socket}:{socket}"), IMAGE]);
    let run = run.args(["/lighter-conformance"]).args(arguments(s, socket));
    Transcript::read("dockerd's own", run.within(s.seconds(1800)).finish()?)
}

/// Runs `work` while watching the daemon's private memory, and fails if that grows with what streams through.
fn watched<T>(s: &Session, work: impl FnOnce() -> Result<T>) -> Result<(T, String)> {
    let status: Value = serde_json::from_slice(&s.lighter(["status", "--json"]).ok()?.stdout)?;
    let pid = status["pid"].as_u64().context("status names no pid")?;
    let before = private_memory::kib(pid)?;
    let over = AtomicBool::new(false);
    let (result, peak) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(private_memory::kib(pid)?);
                std::thread::sleep(Duration::from_millis(250));
            }
            Ok::<u64, anyhow::Error>(peak)
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        let peak = watcher.join().unwrap_or_else(|_| bail!("the watcher panicked"));
        (result, peak)
    });
    let (result, peak) = (result?, peak?);
    let after = private_memory::kib(pid)?;
    let memory = format!("{before} KiB before, {peak} at most, {after} after");
    ensure!(peak.max(after) <= before + GROWTH_KIB, "the daemon's private memory grows with what it carries: {memory}");
    Ok((result, memory))
}

impl Transcript {
    fn read(name: &'static str, done: Finished) -> Result<Transcript> {
        // 3: some case did not hold, which its record says.
        let code = done.status.code();
        ensure!(code == Some(0) || code == Some(3), "the suite on {name} ended with {}: {}", done.status, done.talk());
        let mut records = BTreeMap::new();
        for line in done.text().lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("a record of {name}"))?;
            let case = value["case"].as_str().context("a record without a name")?.to_owned();
            let lines = value["lines"].as_array().into_iter().flatten();
            let record = Record {
                error: value["error"].as_str().map(str::to_owned),
                milliseconds: value["milliseconds"].as_u64().unwrap_or_default(),
                lines: lines.filter_map(|line| line.as_str().map(str::to_owned)).collect(),
            };
            records.insert(case, record);
        }
        Ok(Transcript { name, records })
    }

    /// How long it took, and which cases took most of it.
    fn times(&self) -> String {
        let mut slow: Vec<(u64, &str)> =
            self.records.iter().map(|(name, record)| (record.milliseconds, name.as_str())).collect();
        slow.sort_unstable_by(|a, b| b.cmp(a));
        let all = Duration::from_millis(slow.iter().map(|(milliseconds, _)| milliseconds).sum());
        let most: Vec<String> = slow.iter().take(3).map(|(ms, name)| format!("{name} {} s", ms / 1000)).collect();
        format!("{} {} s ({})", self.name, all.as_secs(), most.join(", "))
    }
}

/// Everything that does not conform, one text for each case.
fn faults(ours: &Transcript, theirs: &Transcript) -> Vec<String> {
    let mut faults = Vec::new();
    for (case, mine) in &ours.records {
        let Some(other) = theirs.records.get(case) else {
            faults.push(format!("{case}: did not run on {}", theirs.name));
            continue;
        };
        for (record, name) in [(mine, ours.name), (other, theirs.name)] {
            if let Some(error) = &record.error {
                faults.push(format!("{case} on {name}: {error}"));
            }
        }
        let differs = mine.lines != other.lines;
        match DIFFERENT.iter().find(|(name, _)| name == case) {
            None if differs => faults.push(format!("{case}: {}", difference(&mine.lines, &other.lines))),
            Some((name, reason)) if !differs && !CHANCE.contains(name) => {
                faults.push(format!("{case} does not differ any more ({reason})"))
            }
            _ => {}
        }
    }
    faults
}

/// The first lines that differ.
fn difference(ours: &[String], theirs: &[String]) -> String {
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let asked = ours[..at].iter().rfind(|line| line.starts_with("> ") && line.contains(" /"));
    let shown =
        |lines: &[String]| lines.get(at).map_or("(nothing more)".to_owned(), |line| cut(line, ours, theirs, at));
    let asked = asked.map_or("", String::as_str);
    format!("line {}, after {asked:?}:\n        lighter {}\n        dockerd {}", at + 1, shown(ours), shown(theirs))
}

/// A long line from a little before where the two differ.
fn cut(line: &str, ours: &[String], theirs: &[String], at: usize) -> String {
    let side = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
    let same = side(ours).chars().zip(side(theirs).chars()).take_while(|(a, b)| a == b).count();
    line.chars().skip(same.saturating_sub(60)).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(name: &'static str, cases: &[(&str, &str)]) -> Transcript {
        let record = |text: &str| Record { error: None, milliseconds: 1, lines: vec![text.to_owned()] };
        let records = cases.iter().map(|(case, text)| ((*case).to_owned(), record(text))).collect();
        Transcript { name, records }
    }

    #[test]
    fn only_named_differences_pass_and_they_must_be_there() {
        let same = [("a.b", "x"), (DIFFERENT[0].0, "1")];
        let ours = transcript("ours", &same);
        assert!(faults(&ours, &transcript("theirs", &[("a.b", "x"), (DIFFERENT[0].0, "2")])).is_empty());
        assert_eq!(faults(&ours, &transcript("theirs", &same)).len(), 1, "a named difference that is gone");
        assert_eq!(faults(&ours, &transcript("theirs", &[("a.b", "y"), (DIFFERENT[0].0, "2")])).len(), 1);
        assert_eq!(faults(&ours, &transcript("theirs", &[(DIFFERENT[0].0, "2")])).len(), 1, "a case that did not run");
    }
}
