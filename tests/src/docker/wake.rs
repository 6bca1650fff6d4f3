//! A machine that is not there, seen from docker commands: which of them start it, what they get, and what becomes of commands
//! whose machine dies. These stop the machine, so they run with `lifecycle`'s at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::lifecycle::{check_data, put_data, status_json};
use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "docker_ps_wakes_a_stopped_machine", run: ps_wakes },
        Case { name: "docker_version_wakes_nothing", run: version_sleeps },
        Case { name: "two_clients_at_once_wake_one_machine", run: two_clients },
        Case { name: "x1_streams_end_with_dockerd_and_the_machine_stays", run: engine_dies },
        Case { name: "a_guest_that_dies_under_load_is_replaced", run: guest_dies },
        Case { name: "quit_takes_the_socket_and_start_brings_it_back", run: quit },
    ]
}

fn state(s: &Session) -> Result<String> {
    Ok(status_json(s)?["state"].as_str().context("no state")?.to_owned())
}

/// Stops the machine and makes sure that it is asleep: a daemon, an endpoint, and nothing that runs a guest.
fn put_to_sleep(s: &Session) -> Result<Value> {
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    let status = status_json(s)?;
    same("state", status["state"].as_str(), Some("stopped"))?;
    let pid = status["pid"].as_u64().context("nobody is asleep: no pid")?;
    same("children of the daemon", children(pid)?, Vec::new())?;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let open = std::fs::read_link(entry?.path()).unwrap_or_default();
        let held = open.ends_with("data.img") || open == Path::new("/dev/kvm") || open.ends_with("root.erofs");
        ensure!(!held, "a sleeping daemon holds {}", open.display());
    }
    Ok(status)
}

/// Processes that `pid` started and that live.
fn children(pid: u64) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(text) = std::fs::read_to_string(task?.path().join("children")) else { continue };
        found.extend(text.split_whitespace().filter_map(|id| id.parse::<u64>().ok()));
    }
    Ok(found)
}

fn ps_wakes(s: &Session) -> Result<()> {
    put_data(s, "asleep")?;
    let asleep = put_to_sleep(s)?;
    let names = s.docker(["ps", "-a", "--format", "{{.Names}}"]).within(s.seconds(180)).ok()?;
    same("containers", names.text(), String::new())?;
    let awake = status_json(s)?;
    same("state", awake["state"].as_str(), Some("running"))?;
    same("pid", &awake["pid"], &asleep["pid"])?;
    same("docker host", &awake["docker_host"], &asleep["docker_host"])?;
    check_data(s, "asleep")
}

fn version_sleeps(s: &Session) -> Result<()> {
    let awake = s.out(&["version"])?;
    let asleep = put_to_sleep(s)?;
    for _ in 0..3 {
        same("docker version", s.out(&["version"])?, awake.clone())?;
    }
    same("state", state(s)?, "stopped".to_owned())?;
    // The next daemon of the profile knows it too.
    s.lighter(["stop", "--quit"]).ok()?;
    s.lighter(["start", "--asleep"]).ok()?;
    same("docker version", s.out(&["version"])?, awake)?;
    let status = status_json(s)?;
    same("state", status["state"].as_str(), Some("stopped"))?;
    ensure!(status["pid"] != asleep["pid"], "it is the old daemon");
    same("docker host", &status["docker_host"], &asleep["docker_host"])
}

fn two_clients(s: &Session) -> Result<()> {
    let pid = put_to_sleep(s)?["pid"].as_u64().context("no pid")?;
    let answers = std::thread::scope(|scope| {
        let echo = |word: &'static str| {
            let run = s.docker(["run", "--rm", BUSYBOX, "echo", word]).within(s.seconds(180));
            scope.spawn(|| Ok::<String, anyhow::Error>(run.ok()?.text()))
        };
        let clients = [echo("one"), echo("two")];
        clients.map(|client| client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked"))))
    });
    for (answer, word) in answers.into_iter().zip(["one", "two"]) {
        same("echo", answer?, word.to_owned())?;
    }
    let machines = children(pid)?.len();
    ensure!(machines <= 1, "the daemon has {machines} children");
    let log = std::fs::read_to_string(s.dir.join("home/default/daemon.log"))?;
    let woken = log.lines().rev().take_while(|line| !line.contains("phase=\"stopped\""));
    same("starts since the stop", woken.filter(|line| line.contains("stage=\"machine\"")).count(), 1)
}

fn engine_dies(s: &Session) -> Result<()> {
    let boot = || s.lighter(["shell", "cat", "/proc/sys/kernel/random/boot_id"]).ok().map(|said| said.text());
    let before = boot()?;
    s.out(&["run", "-d", "--name", "talker", BUSYBOX, "sh", "-c", "while :; do echo word; sleep 1; done"])?;
    let streams: [&[&str]; 4] =
        [&["attach", "--no-stdin", "talker"], &["logs", "-f", "talker"], &["events"], &["wait", "talker"]];
    std::thread::scope(|scope| {
        let clients = streams.map(|words| {
            let run = s.docker(words).within(s.seconds(180));
            scope.spawn(move || run.finish().map(|_| Instant::now()))
        });
        // Each of them waits in dockerd by then, and would for ever.
        std::thread::sleep(s.seconds(5));
        ensure!(clients.iter().all(|client| !client.is_finished()), "a stream ended by itself");
        let killed = Instant::now();
        s.lighter(["shell", "sh", "-c", "kill -9 $(pidof dockerd)"]).ok()?;
        for (client, words) in clients.into_iter().zip(streams) {
            let ended = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            let took = ended.saturating_duration_since(killed);
            println!("    {} ended {:.1} s after the command that killed dockerd began", words[0], took.as_secs_f64());
            ensure!(took < s.seconds(60), "docker {words:?} hung");
        }
        Ok(())
    })?;
    let end = Instant::now() + s.seconds(60);
    while !s.docker(["ps"]).finish()?.status.success() {
        ensure!(Instant::now() < end, "dockerd does not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
    same("the machine", boot()?, before)
}

fn guest_dies(s: &Session) -> Result<()> {
    put_data(s, "alive")?;
    let pid = status_json(s)?["pid"].as_u64().context("no pid")?;
    let load = ["run", "--rm", BUSYBOX, "sh", "-c", "echo ready; yes"];
    std::thread::scope(|scope| {
        // Each of them would go on for ever; that they come back at all is what this case is about.
        let streams = [
            scope.spawn(|| s.docker(load).within(s.seconds(180)).finish()),
            scope.spawn(|| s.docker(["events"]).within(s.seconds(180)).finish()),
        ];
        let end = Instant::now() + s.seconds(60);
        while s.out(&["ps", "-q"])?.is_empty() {
            ensure!(Instant::now() < end, "the load does not start");
        }
        kill_guest(s, pid)?;
        for stream in streams {
            stream.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let end = Instant::now() + s.seconds(30);
    while state(s)? != "broken" {
        ensure!(Instant::now() < end, "nobody noticed: {}", status_json(s)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = status_json(s)?;
    let reason = status["reason"].as_str().context("no reason")?;
    ensure!(reason.contains("starts it again"), "the reason is {reason:?}");
    same("pid", status["pid"].as_u64(), Some(pid))?;
    s.docker(["ps"]).within(s.seconds(180)).ok()?;
    same("state", state(s)?, "running".to_owned())?;
    check_data(s, "alive")
}

/// Ends the guest without a goodbye: QEMU, where there is one, and otherwise by a reset from within.
fn kill_guest(s: &Session, daemon: u64) -> Result<()> {
    let Some(child) = children(daemon)?.first().copied() else {
        let reset = ["run", "--privileged", "--pid=host", BUSYBOX, "reboot", "-f"];
        return s.docker(reset).within(s.seconds(60)).finish().map(drop);
    };
    let pid = rustix::process::Pid::from_raw(i32::try_from(child)?).context("pid 0")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

fn quit(s: &Session) -> Result<()> {
    let socket = s.dir.join("home/default/docker.sock");
    put_data(s, "quit")?;
    let host = format!("unix://{}", socket.display());
    s.lighter(["stop", "--quit"]).within(s.seconds(90)).ok()?;
    ensure!(!socket.exists(), "the socket is still there");
    ensure!(status_json(s)?["pid"].is_null(), "somebody is still there: {}", status_json(s)?);
    ensure!(!s.docker(["-H", &host, "ps"]).finish()?.status.success(), "somebody answers");
    s.start()?;
    ensure!(socket.exists(), "the socket is not there");
    check_data(s, "quit")
}
