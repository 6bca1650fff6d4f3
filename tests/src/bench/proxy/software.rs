//! `bench proxy-software`: the whole way of a request, from a client on the host over the real vsock to the real dockerd of a
//! guest under the software engine, beside the same request by the same client in a container beside dockerd, on dockerd's
//! own socket, in turn. Emulation slows the guest's half many times over and the host's not at all, so only ratios are of
//! use, and they flatter the host's half.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use lighter_meter::exec::{self, Way};
use serde_json::{Value, json};

use super::syscalls;
use crate::bench::{median, private_memory};
use crate::docker::{BUSYBOX, Session};
use crate::packages;
use crate::products;
use crate::rig::software;
use crate::rig::tools::Tools;

/// Requests in one turn, and turns of each way in a round.
const COUNT: usize = 10;
const TURNS: u32 = 5;
/// GETs whose system calls are counted.
const COUNTED: usize = 100;
/// What is asked for, and how.
const ASKED: &[(&str, &str)] =
    &[("kept", "/_ping"), ("kept", "/containers/json"), ("kept", "/version"), ("fresh", "/_ping")];
/// Bytes of a stream, and what has it, as in `docker exec -i`.
const STREAM: u64 = 30_000_000;
const STREAMS: &[(&str, Way)] = &[("down", Way::Down), ("up", Way::Up)];
/// The least share of dockerd's own throughput that is to come through.
const STREAM_GOAL: f64 = 0.9;
/// Requests with a connection each, after which nothing may be left.
const LOOP: usize = 2000;
/// The share by which the way through lighter may exceed its parts.
const GOAL: f64 = 1.3;
/// dockerd's socket as the container sees it.
const SOCKET: &str = "/docker.sock";

/// One turn: p50 in microseconds by what was measured.
type Round = BTreeMap<String, f64>;

/// Starts a machine, measures, and prints the table.
pub fn run(tools: &Tools, rounds: u32) -> Result<Value> {
    packages::ensure(packages::PROXY_BENCH)?;
    let meter = products::meter()?;
    let dir = tempfile::Builder::new().prefix("lb").tempdir_in("/tmp")?;
    let session = software::session(tools, dir.path(), "software", 1)?;
    let result = measure(&session, &meter, rounds);
    drop(session.lighter(["stop", "--quit", "--force"]).finish());
    if result.is_err() {
        software::tails(&session);
    }
    result
}

fn measure(session: &Session, meter: &Path, rounds: u32) -> Result<Value> {
    let start = session.lighter(["start", "--engine", "software", "--cpus", "2", "--memory", "1", "--disk", "20"]);
    start.within(session.seconds(180)).ok()?;
    session.import_busybox()?;
    let mount = format!("/run/docker.sock:{SOCKET}");
    // Docker's filter forbids containers vsock sockets, which the bare round trip needs.
    let words = ["run", "-d", "--name", "meter", "--security-opt", "seccomp=unconfined", "-v", &mount];
    session.docker(words.into_iter().chain([BUSYBOX, "sleep", "100000"])).ok()?;
    session.docker(["cp"]).args([meter]).args(["meter:/meter"]).ok()?;
    let status: Value = serde_json::from_slice(&session.lighter(["status", "--json"]).ok()?.stdout)?;
    let pid = u32::try_from(status["pid"].as_u64().context("status names no pid")?)?;
    let socket = session.dir.join("home/default/docker.sock");
    let mut beside = Beside::start(session)?;
    let mut all = Vec::new();
    for turn in 0..rounds * TURNS {
        eprintln!("turn {} of {}", turn + 1, rounds * TURNS);
        all.push(one_turn(&socket, &mut beside, turn % 2 == 0)?);
    }
    drop(beside);
    let table = show(&all);
    let calls = syscalls::count(pid, || lighter_meter::kept(&socket, "/_ping", COUNTED))?;
    let per_get = syscalls::show("GET on a kept connection", &calls, COUNTED as f64);
    let held = || -> Result<(u64, usize)> {
        Ok((private_memory::kib(u64::from(pid))?, std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
    };
    let before = held()?;
    drop(lighter_meter::fresh(&socket, "/containers/json", LOOP)?);
    // What a connection held goes when its other end in the guest has said so.
    std::thread::sleep(std::time::Duration::from_secs(10));
    let after = held()?;
    println!("  daemon's private memory and descriptors: {} KiB, {}", before.0, before.1);
    println!("  after {LOOP} GET /containers/json with a connection each: {} KiB, {}", after.0, after.1);
    Ok(
        json!({ "medians": table, "runs": all, "calls_per_get": per_get, "calls": calls, "before": before, "after": after }),
    )
}

/// Everything once, ours first or dockerd's own socket first.
fn one_turn(socket: &Path, beside: &mut Beside, ours_first: bool) -> Result<Round> {
    let mut figures = Round::from([("vsock".to_owned(), beside.ask(&format!("vsock {COUNT}"))?)]);
    for (way, path) in ASKED {
        for ours in [ours_first, !ours_first] {
            if ours {
                let measure = if *way == "kept" { lighter_meter::kept } else { lighter_meter::fresh };
                let p50 = lighter_meter::percentile(&measure(socket, path, COUNT)?, 50) as f64 / 1e3;
                figures.insert(format!("lighter {way} {path}"), p50);
            } else {
                let p50 = beside.ask(&format!("{way} {SOCKET} {path} {COUNT}"))?;
                figures.insert(format!("dockerd {way} {path}"), p50);
            }
        }
    }
    for (name, way) in STREAMS {
        for ours in [ours_first, !ours_first] {
            if ours {
                let nanoseconds = exec::run(socket, "meter", *way, STREAM)?;
                figures.insert(format!("lighter {name}"), nanoseconds as f64 / 1e3);
            } else {
                figures.insert(format!("dockerd {name}"), beside.ask(&format!("{name} {SOCKET} meter {STREAM}"))?);
            }
        }
    }
    Ok(figures)
}

/// The client in the container, for as long as it is needed.
struct Beside {
    exec: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Beside {
    fn start(session: &Session) -> Result<Self> {
        let mut command = Command::new(&session.docker);
        command.args(["exec", "-i", "meter", "/meter"]).env("DOCKER_CONFIG", session.dir.join("docker"));
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        let mut exec = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run docker")?;
        let questions = exec.stdin.take().context("no pipe")?;
        let answers = BufReader::new(exec.stdout.take().context("no pipe")?);
        Ok(Self { exec, questions, answers })
    }

    /// One measurement; its p50 in microseconds. The client itself gives up when an answer does not come.
    fn ask(&mut self, question: &str) -> Result<f64> {
        writeln!(self.questions, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let p50 = line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        Ok(p50.with_context(|| format!("the client in the container answered {line:?} to {question:?}"))? / 1e3)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Gone already if the machine is.
        drop(self.exec.kill());
        drop(self.exec.wait());
    }
}

fn show(rounds: &[Round]) -> Value {
    let of = |name: &str| median(&rounds.iter().filter_map(|round| round.get(name).copied()).collect::<Vec<_>>());
    let vsock = of("vsock").unwrap_or_default();
    println!("\nproxy over the real vsock, software engine, p50 in microseconds, medians of {} turns", rounds.len());
    println!("  a bare vsock round trip, guest to device and back: {vsock:.0}");
    println!("  {:<26} {:>8} {:>8} {:>22} {:>6}", "", "dockerd", "lighter", "lighter/(dockerd+vsock)", "goal");
    let mut table = serde_json::Map::from_iter([("vsock".to_owned(), json!(vsock))]);
    for (way, path) in ASKED {
        let name = format!("{way} {path}");
        let key = |who: &str| format!("{who} {name}");
        let ratios = rounds.iter().filter_map(|round| {
            Some(round.get(&key("lighter"))? / (round.get(&key("dockerd"))? + round.get("vsock")?))
        });
        let ratio = median(&ratios.collect::<Vec<_>>()).unwrap_or_default();
        let (own, ours) = (of(&key("dockerd")).unwrap_or_default(), of(&key("lighter")).unwrap_or_default());
        let verdict = if ratio <= GOAL { "met" } else { "missed" };
        println!("  {name:<26} {own:>8.0} {ours:>8.0} {ratio:>22.2} {verdict:>6}");
        table.insert(name, json!({ "dockerd": own, "lighter": ours, "ratio": ratio }));
    }
    println!("  streams of {} MB in MB/s", STREAM / 1_000_000);
    println!("  {:<26} {:>8} {:>8} {:>22} {:>6}", "", "dockerd", "lighter", "lighter/dockerd", "goal");
    for (name, _) in STREAMS {
        let speed = |who: &str| of(&format!("{who} {name}")).map_or(0.0, |micros| STREAM as f64 / micros);
        let key = |who: &str| format!("{who} {name}");
        let ratios = rounds.iter().filter_map(|round| Some(round.get(&key("dockerd"))? / round.get(&key("lighter"))?));
        let ratio = median(&ratios.collect::<Vec<_>>()).unwrap_or_default();
        let verdict = if ratio >= STREAM_GOAL { "met" } else { "missed" };
        let (own, ours) = (speed("dockerd"), speed("lighter"));
        println!("  {:<26} {own:>8.1} {ours:>8.1} {ratio:>22.2} {verdict:>6}", format!("exec, {name}"));
        table.insert((*name).to_owned(), json!({ "dockerd": own, "lighter": ours, "ratio": ratio }));
    }
    Value::Object(table)
}
