//! The conformance suite (`tests/conformance`) against two sockets: lighter's on this host, and dockerd's own from a container in
//! the guest. A case passes when it holds on both and what came is the same, but for what is named in [`DIFFERENT`].

mod report;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::terminal::Terminal;
use super::{BUSYBOX, Case, Session};
use crate::bench::private_memory;
use crate::process::{Finished, Run};

/// Cases in which lighter answers otherwise than dockerd, and why that is meant; `tests/conformance/README.md` says more.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "framing.bare_line_feeds",
        "two readers of the same bytes must not disagree on where a line ends, so it is refused",
    ),
    (
        "framing.half_closed_behind_the_request",
        "a client that ends its sending behind a request gets its answer; dockerd cancels the request, if it is quick enough",
    ),
    (
        "framing.http_2_with_prior_knowledge",
        "neither speaks it, and 505 says so where dockerd says that its page has moved",
    ),
    (
        "attach.stdin_glued_to_the_request",
        "input that comes with the request reaches the process; dockerd drops it when it takes the connection over",
    ),
    (
        "errors.container_create_wrong_kind_of_binds",
        "paths of the host are looked for here, and what holds none that could be read is refused in lighter's words",
    ),
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

/// What is part of every run: where the proxy itself has most to do, and few containers have to start.
const QUICK: &[&str] = &["versions", "errors.", "framing.", "system.", "volumes."];

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
    let registry = Registry::start(s)?;
    let (ours, memory) = watched(s, || on_the_host(s))?;
    let theirs = in_the_guest(s)?;
    registry.stop(s)?;
    s.out(&["rmi", "-f", IMAGE])?;
    ensure!(!ours.records.is_empty(), "no case of the suite is named {:?}", s.words);
    let faults = faults(&ours, &theirs);
    report::table(&ours, &theirs, &faults);
    report::slowest(&ours, &theirs);
    println!("    {}; daemon's private memory {memory}", extent(s));
    faults.iter().for_each(|(_, fault)| println!("    {fault}"));
    ensure!(faults.is_empty(), "{} cases do not conform", faults.len());
    Ok(())
}

/// The registry that cases push to, in a container beside dockerd.
struct Registry;

impl Registry {
    const NAME: &str = "conformance-registry";

    fn start(s: &Session) -> Result<Registry> {
        s.docker(["run", "-d", "--name", Self::NAME, "--network", "host", IMAGE])
            .args(["/lighter-conformance", "--registry"])
            .ok()?;
        Terminal::docker(s, &["logs", "-f", Self::NAME])?.expect("listening on")?;
        Ok(Registry)
    }

    fn stop(self, s: &Session) -> Result<()> {
        s.out(&["rm", "-f", Self::NAME]).map(drop)
    }
}

/// The size of the large bodies, in MiB: an emulated processor that emulates virtualisation moves a megabyte a second.
fn bulk(s: &Session) -> u64 {
    if s.engine == "kvm" { 16 } else { 1024 }
}

/// For all cases on one socket; a quiet machine needs a fraction of it.
fn budget(s: &Session) -> Duration {
    Duration::from_secs(if s.engine == "kvm" { 3600 } else { 3000 })
}

/// A run of everything asks these; who names the suite gets all of it.
fn is_quick(s: &Session) -> bool {
    s.words.is_empty()
}

/// What was asked.
fn extent(s: &Session) -> String {
    let words: Vec<&str> = s.words.iter().map(String::as_str).filter(|word| word.contains('.')).collect();
    match (is_quick(s), words.is_empty()) {
        (true, _) => format!("only {}; the name `conformance` adds the others", QUICK.join(", ")),
        (false, true) => format!("all families; large bodies of {} MiB", bulk(s)),
        (false, false) => format!("only {}; large bodies of {} MiB", words.join(", "), bulk(s)),
    }
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
    // A gigabyte is committed without a word meanwhile, on an emulated processor too.
    let [deadline, budget] = [s.seconds(600), budget(s)].map(|time| time.as_secs().to_string());
    let bulk = bulk(s).to_string();
    let fixed = ["--socket", socket, "--image", BUSYBOX, "--deadline", &deadline, "--budget", &budget, "--bulk", &bulk];
    let quick: &[&str] = if is_quick(s) { QUICK } else { &[] };
    let words = s.words.iter().filter(|word| word.contains('.')).cloned();
    fixed.iter().chain(quick).map(|word| (*word).to_owned()).chain(words).collect()
}

fn on_the_host(s: &Session) -> Result<Transcript> {
    let socket = s.dir.join("home/default/docker.sock");
    let run = Run::new(&s.conformance).args(arguments(s, &socket.to_string_lossy()));
    Transcript::read("lighter's socket", run.within(budget(s) + s.seconds(180)).finish()?)
}

fn in_the_guest(s: &Session) -> Result<Transcript> {
    let socket = "/var/run/docker.sock";
    let run = s.docker(["run", "--rm", "--network", "none", "-v", &format!("{socket}:{socket}"), IMAGE]);
    let run = run.args(["/lighter-conformance"]).args(arguments(s, socket));
    Transcript::read("dockerd's own", run.within(budget(s) + s.seconds(180)).finish()?)
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
}

/// Everything that does not conform, by case.
fn faults(ours: &Transcript, theirs: &Transcript) -> Vec<(String, String)> {
    let mut faults: Vec<(String, String)> = Vec::new();
    let mut fault = |case: &str, text: String| faults.push((case.to_owned(), format!("{case}{text}")));
    for (case, mine) in &ours.records {
        let Some(other) = theirs.records.get(case) else {
            fault(case, format!(": did not run on {}", theirs.name));
            continue;
        };
        for (record, name) in [(mine, ours.name), (other, theirs.name)] {
            if let Some(error) = &record.error {
                fault(case, format!(" on {name}: {error}"));
            }
        }
        let differs = mine.lines != other.lines;
        match DIFFERENT.iter().find(|(name, _)| name == case) {
            None if differs => fault(case, format!(": {}", difference(&mine.lines, &other.lines))),
            Some((name, reason)) if !differs && !CHANCE.contains(name) => {
                fault(case, format!(" does not differ any more ({reason})"))
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
