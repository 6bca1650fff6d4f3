//! The machine's life seen from a user: status, second start, two starts at once, stop and start, kill -9 of the daemon, a
//! first request while the machine starts, shell and logs. These run last because they stop the machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "status_is_as_contracted", run: status },
        Case { name: "second_start_says_it_runs", run: second_start },
        Case { name: "shell_runs_in_the_guest_and_codes_pass", run: shell },
        Case { name: "logs_show_each_source", run: logs },
        Case { name: "context_is_ours_and_current", run: context },
        Case { name: "clock_is_right_again_after_a_pause", run: clock },
        Case { name: "data_survives_stop_and_start", run: survives_stop },
        Case { name: "two_starts_at_once_give_one_machine", run: two_starts },
        Case { name: "data_survives_kill_9_of_the_daemon", run: survives_kill },
        Case { name: "first_request_waits_for_the_start", run: first_request },
        Case { name: "delete_leaves_nothing", run: delete },
    ]
}

/// What `lighter status` says.
pub(super) fn status_json(s: &Session) -> Result<Value> {
    Ok(serde_json::from_slice(&s.lighter(["status", "--json"]).ok()?.stdout)?)
}

fn status(s: &Session) -> Result<()> {
    let status = status_json(s)?;
    for key in ["profile", "state", "reason", "engine", "docker_host", "cpus", "memory_bytes", "pid", "versions"] {
        ensure!(status.get(key).is_some(), "`{key}` is missing in {status}");
    }
    same("state", status["state"].as_str(), Some("running"))?;
    same("engine", status["engine"].as_str(), Some(s.engine))?;
    ensure!(s.lighter(["list"]).ok()?.text().contains("default"), "list does not show the profile");
    let env = s.lighter(["env"]).ok()?.text();
    ensure!(env.contains("DOCKER_HOST"), "env says {env:?}");
    Ok(())
}

fn second_start(s: &Session) -> Result<()> {
    let pid = status_json(s)?["pid"].clone();
    let done = s.lighter(["start"]).ok()?;
    ensure!(done.talk().contains("running"), "a second start said {:?}", done.talk());
    same("pid", status_json(s)?["pid"].clone(), pid)
}

fn shell(s: &Session) -> Result<()> {
    let done = s.lighter(["shell", "uname", "-s"]).ok()?;
    same("shell output", done.text(), "Linux".to_owned())?;
    same("shell code", s.lighter(["shell", "sh", "-c", "exit 9"]).finish()?.status.code(), Some(9))?;
    let piped = s.lighter(["shell"]).stdin(std::io::Cursor::new("echo $((6*7))\n")).ok()?;
    same("a piped script", piped.text(), "42".to_owned())?;
    let cat = s.lighter(["shell", "cat"]).stdin(std::io::Cursor::new(vec![b'x'; 3_000_000])).ok()?;
    same("bytes through the shell", cat.stdout_bytes, 3_000_000)
}

fn logs(s: &Session) -> Result<()> {
    let dockerd = s.lighter(["logs", "dockerd"]).ok()?;
    ensure!(dockerd.text().contains("API listen on"), "dockerd's log: {:?}", dockerd.text());
    ensure!(s.lighter(["logs", "kernel"]).ok()?.text().contains("Linux version"), "no kernel log");
    ensure!(!s.lighter(["logs", "daemon"]).ok()?.stdout.is_empty(), "the daemon's log is empty");
    Ok(())
}

fn context(s: &Session) -> Result<()> {
    same("current context", s.out(&["context", "show"])?, "lighter".to_owned())?;
    let config: Value = serde_json::from_slice(&std::fs::read(s.dir.join("docker/config.json"))?)?;
    same("the user's own key", config["lighterTestsOwnKey"].as_str(), Some("kept"))
}

/// A computer that slept is played by a daemon that was stopped for a while, and a guest whose clock is wrong by years.
fn clock(s: &Session) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let off = || -> Result<u64> {
        let guest: u64 = s.lighter(["shell", "date", "+%s"]).ok()?.text().parse()?;
        let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        Ok(guest.abs_diff(ours))
    };
    s.lighter(["shell", "date", "-s", "2001-02-03 04:05:06"]).ok()?;
    ensure!(off()? > 1_000_000, "the guest's clock could not be set wrong");
    let daemon = status_json(s)?["pid"].as_u64().context("no pid")?;
    let daemon = Pid::from_raw(i32::try_from(daemon)?).context("pid 0")?;
    kill_process(daemon, Signal::STOP)?;
    std::thread::sleep(Duration::from_secs(10));
    kill_process(daemon, Signal::CONT)?;
    let end = std::time::Instant::now() + s.seconds(60);
    while off()? > 2 {
        ensure!(std::time::Instant::now() < end, "the guest's clock is still wrong by {} s", off()?);
    }
    Ok(())
}

/// Writes a word to a volume.
pub(super) fn put_data(s: &Session, word: &str) -> Result<()> {
    let script = format!("echo {word} > /data/word; sync");
    s.out(&["run", "--rm", "-v", "deep:/data", BUSYBOX, "sh", "-c", &script]).map(drop)
}

/// Demands that it is there.
pub(super) fn check_data(s: &Session, word: &str) -> Result<()> {
    same("volume", s.out(&["run", "--rm", "-v", "deep:/data", BUSYBOX, "cat", "/data/word"])?, word.to_owned())
}

fn survives_stop(s: &Session) -> Result<()> {
    put_data(s, "stopped")?;
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    same("state", status_json(s)?["state"].as_str(), Some("stopped"))?;
    ensure!(s.lighter(["stop"]).finish()?.status.success(), "a second stop fails");
    s.start()?;
    check_data(s, "stopped")
}

fn two_starts(s: &Session) -> Result<()> {
    put_data(s, "twice")?;
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    let both = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| s.start()), scope.spawn(|| s.start())];
        threads.map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a starter panicked"))))
    });
    for (index, result) in both.into_iter().enumerate() {
        result.with_context(|| format!("start {index} of two"))?;
    }
    check_data(s, "twice")
}

fn survives_kill(s: &Session) -> Result<()> {
    put_data(s, "killed")?;
    let pid = status_json(s)?["pid"].as_u64().context("no pid")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while status_json(s)?["state"] != "stopped" {
        ensure!(std::time::Instant::now() < end, "status does not notice the death: {}", status_json(s)?);
    }
    s.start()?;
    check_data(s, "killed")
}

fn first_request(s: &Session) -> Result<()> {
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    std::thread::scope(|scope| {
        let start = scope.spawn(|| s.start());
        let end = std::time::Instant::now() + s.seconds(30);
        while status_json(s)?["state"] == "stopped" {
            ensure!(std::time::Instant::now() < end, "the start does not begin");
        }
        let host = status_json(s)?["docker_host"].as_str().context("no docker_host")?.to_owned();
        let early = s.docker(["-H", &host, "run", "--rm", BUSYBOX, "echo", "early"]).within(s.seconds(120)).ok()?;
        same("the early request", early.text(), "early".to_owned())?;
        start.join().map_err(|_| anyhow::anyhow!("start panicked"))?
    })
}

fn delete(s: &Session) -> Result<()> {
    s.lighter(["stop"]).within(s.seconds(90)).ok()?;
    s.lighter(["delete", "--force"]).ok()?;
    let contexts = s.out(&["context", "ls", "--format", "{{.Name}}"])?;
    ensure!(!contexts.lines().any(|name| name == "lighter"), "the context is still there");
    ensure!(!s.dir.join("home/default").exists(), "the profile's folder is still there");
    Ok(())
}
