//! PID 1's duty: every orphan is collected and no child is mistaken for one (A3). Each test is the first process of its own
//! PID namespace, because only such a process inherits orphans; without root the tests say that they did not run.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lighter_agent::reaper::{Exit, Reaper};
use rustix::process::Signal;

/// Runs the rest of the test named `name` as PID 1 of a new namespace. `true` inside.
fn as_first_process(name: &str) -> bool {
    if std::env::var_os("LIGHTER_TEST_IS_FIRST").is_some() {
        assert_eq!(std::process::id(), 1);
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {name}: a PID namespace needs root");
        return false;
    }
    let itself = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(itself)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("LIGHTER_TEST_IS_FIRST", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} inside its namespace: {status}");
    false
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

#[test]
fn a3_ten_thousand_orphans_are_all_collected_and_the_child_is_not_one() {
    if !as_first_process("a3_ten_thousand_orphans_are_all_collected_and_the_child_is_not_one") {
        return;
    }
    let reaper = Reaper::start().unwrap();
    // Each subshell leaves one process behind whose parent has ended. Twenty at once, so that they end in storms.
    let storm = "i=0; while [ $i -lt 500 ]; do ( : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & : & ); i=$((i+1)); done; exit 7";
    let (_, running) = reaper.spawn(&mut shell(storm)).unwrap();
    assert_eq!(running.wait(), Exit(7));
    assert!(reaper.childless_within(Duration::from_secs(60)));
    assert_eq!(reaper.orphans(), 10_000);
    let left = std::fs::read_dir("/proc").unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
    assert_eq!(left, 1, "no zombie is left");
}

#[test]
fn a3_each_child_gets_its_own_exit_code_amid_orphans() {
    if !as_first_process("a3_each_child_gets_its_own_exit_code_amid_orphans") {
        return;
    }
    let reaper = Reaper::start().unwrap();
    let (_, noise) = reaper.spawn(&mut shell("i=0; while [ $i -lt 400 ]; do ( : & : & ); i=$((i+1)); done")).unwrap();
    let children: Vec<_> =
        (0..100).map(|code| (code, reaper.spawn(&mut shell(&format!("exit {code}"))).unwrap().1)).collect();
    for (code, running) in children {
        assert_eq!(running.wait(), Exit(code));
        // It is collected: its number may be another's, so a signal goes to nobody.
        running.signal(Signal::KILL);
        assert!(running.ended().unwrap().is_none());
    }
    assert_eq!(noise.wait(), Exit(0));
}

#[test]
fn a3_a_program_that_does_not_exist_is_an_error_and_not_a_child() {
    if !as_first_process("a3_a_program_that_does_not_exist_is_an_error_and_not_a_child") {
        return;
    }
    let reaper = Reaper::start().unwrap();
    for _ in 0..100 {
        assert!(reaper.spawn(&mut Command::new("/no/such/program")).is_err());
    }
    let (_, running) = reaper.spawn(&mut shell("exit 3")).unwrap();
    assert_eq!(running.wait(), Exit(3));
    assert_eq!(reaper.orphans(), 0);
}

#[test]
fn a3_a_child_that_never_ends_is_waited_for_with_a_deadline_and_then_killed() {
    if !as_first_process("a3_a_child_that_never_ends_is_waited_for_with_a_deadline_and_then_killed") {
        return;
    }
    let reaper = Reaper::start().unwrap();
    let (_, running) = reaper.spawn(&mut shell("trap '' TERM; while :; do sleep 1000; done")).unwrap();
    assert_eq!(running.wait_for(Duration::from_millis(20)), None);
    running.signal(Signal::KILL);
    assert_eq!(running.wait(), Exit(128 + 9));
}

/// What a container can do at most: as many processes as it may have, each of which makes two more wherever one has ended.
#[test]
fn a3_a_fork_bomb_at_its_limit_keeps_nobody_else_from_being_started_and_collected() {
    if !as_first_process("a3_a_fork_bomb_at_its_limit_keeps_nobody_else_from_being_started_and_collected") {
        return;
    }
    let reaper = Reaper::start().unwrap();
    // Somebody whom no host knows, so that the limit counts nobody else's processes.
    let user = ["--reuid", "54322", "--regid", "54322", "--clear-groups"];
    let bomb = "bomb() { while :; do bomb & bomb & wait; done; }; bomb";
    let mut command = Command::new("setpriv");
    command
        .args(user)
        .args(["prlimit", "--nproc=100:100", "sh", "-c", bomb])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let (_, first) = reaper.spawn(&mut command).unwrap();
    let processes = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while processes() < 90 {
        assert!(Instant::now() < deadline, "waited 60 s for the bomb, which has {} processes", processes());
        std::thread::sleep(Duration::from_millis(1));
    }
    for code in 0..20 {
        let (_, running) = reaper.spawn(&mut shell(&format!("exit {code}"))).unwrap();
        assert_eq!(running.wait(), Exit(code));
    }
    // As the end of a container does: all of them, until none is left that could make another.
    while processes() > 1 {
        assert!(Instant::now() < deadline, "{} processes are left", processes());
        let mut killer = Command::new("setpriv");
        killer.args(user).args(["sh", "-c", "kill -KILL -1"]).stderr(Stdio::null());
        let (_, running) = reaper.spawn(&mut killer).unwrap();
        running.wait();
    }
    first.wait();
    assert!(reaper.childless_within(Duration::from_secs(60)));
    assert!(reaper.orphans() > 0, "its children were inherited");
}
