//! Containers one at a time: run, exit codes, exec, logs, ps, cp, inspect, rename, stats, top, volumes, networks, rm.

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "version_and_info", run: version_and_info },
        Case { name: "demo_image_says_where_it_runs", run: demo },
        Case { name: "run_prints_and_exit_codes_pass_through", run: exit_codes },
        Case { name: "exec_runs_and_reports_codes", run: exec },
        Case { name: "logs_tail_and_timestamps", run: logs },
        Case { name: "ps_filters_and_inspect", run: ps_inspect },
        Case { name: "cp_both_ways_is_byte_exact", run: cp },
        Case { name: "stats_top_pause_rename_update", run: stats_top },
        Case { name: "volumes_keep_data", run: volumes },
        Case { name: "networks_connect_containers_by_name", run: networks },
        Case { name: "rm_force_ends_a_running_container", run: rm_force },
        Case { name: "errors_read_as_dockers_own", run: errors },
    ]
}

fn version_and_info(s: &Session) -> Result<()> {
    let version = s.out(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}} {{.Server.APIVersion}}"])?;
    ensure!(version.starts_with("linux/amd64 1."), "unexpected server: {version}");
    same("storage driver", s.out(&["info", "--format", "{{.Driver}} {{.CgroupVersion}}"])?, "overlay2 2".to_owned())
}

fn demo(s: &Session) -> Result<()> {
    let text = s.out(&["run", "--rm", "lighter/demo"])?;
    ensure!(text.contains("Linux"), "the demo image does not name its kernel: {text}");
    Ok(())
}

fn exit_codes(s: &Session) -> Result<()> {
    same("stdout", s.out(&["run", "--rm", BUSYBOX, "echo", "hello there"])?, "hello there".to_owned())?;
    for code in [0, 3, 125, 255] {
        let done = s.docker(["run", "--rm", BUSYBOX, "sh", "-c", &format!("echo e >&2; exit {code}")]).finish()?;
        same("exit code", done.status.code(), Some(code))?;
        same("stderr", done.talk(), "e".to_owned())?;
    }
    let missing = s.docker(["run", "--rm", BUSYBOX, "/no/such/program"]).finish()?;
    same("exit code of a missing program", missing.status.code(), Some(127))?;
    // The first process of a container is deaf to its own signals, so the one that kills itself is the second.
    let killed = s.docker(["run", "--rm", BUSYBOX, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).finish()?;
    same("exit code after SIGKILL", killed.status.code(), Some(137))
}

fn exec(s: &Session) -> Result<()> {
    s.out(&["run", "-d", "--name", "target", BUSYBOX, "sleep", "600"])?;
    same(
        "exec",
        s.out(&["exec", "-e", "WORD=two words", "target", "sh", "-c", "echo $WORD"])?,
        "two words".to_owned(),
    )?;
    same("exec code", s.docker(["exec", "target", "sh", "-c", "exit 42"]).finish()?.status.code(), Some(42))?;
    same(
        "exec as user",
        s.out(&["exec", "-u", "1000:1000", "-w", "/tmp", "target", "sh", "-c", "id -u; pwd"])?,
        "1000\n/tmp".to_owned(),
    )
}

fn logs(s: &Session) -> Result<()> {
    s.out(&[
        "run",
        "--name",
        "talker",
        BUSYBOX,
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done",
    ])?;
    let all = s.docker(["logs", "talker"]).ok()?;
    same("stdout of logs", all.text(), (1..=5).map(|i| format!("out {i}")).collect::<Vec<_>>().join("\n"))?;
    same("stderr of logs", all.talk(), (1..=5).map(|i| format!("err {i}")).collect::<Vec<_>>().join("\n"))?;
    let tail = s.docker(["logs", "--tail", "2", "talker"]).ok()?;
    same("lines of --tail 2", tail.text().lines().count() + tail.talk().lines().count(), 2)?;
    ensure!(s.out(&["logs", "--timestamps", "talker"])?.contains("T"), "no timestamps");
    Ok(())
}

fn ps_inspect(s: &Session) -> Result<()> {
    let id = s.out(&["run", "-d", "--name", "seen", "--label", "role=probe", "-e", "A=b", BUSYBOX, "sleep", "600"])?;
    same("ps by label", s.out(&["ps", "-q", "--no-trunc", "--filter", "label=role=probe"])?, id.clone())?;
    same(
        "inspect",
        s.out(&["inspect", "-f", "{{.State.Status}} {{.Name}} {{.Id}}", "seen"])?,
        format!("running /seen {id}"),
    )?;
    ensure!(s.out(&["inspect", "-f", "{{json .Config.Env}}", "seen"])?.contains("A=b"), "the environment is lost");
    s.out(&["stop", "-t", "1", "seen"])?;
    // dockerd tells who waits for the stop a moment before the list shows it; an inspection takes its turn after both.
    same("inspect after stop", s.out(&["inspect", "-f", "{{.State.Status}}", "seen"])?, "exited".to_owned())?;
    same("after stop", s.out(&["ps", "-a", "--filter", "name=seen", "--format", "{{.State}}"])?, "exited".to_owned())
}

fn cp(s: &Session) -> Result<()> {
    let source = s.dir.join("cp-source");
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&source, &data)?;
    s.out(&["create", "--name", "box", BUSYBOX, "true"])?;
    s.docker(["cp"]).args([&source]).args(["box:/tmp/payload"]).ok()?;
    let back = s.dir.join("cp-back");
    s.docker(["cp", "box:/tmp/payload"]).args([&back]).ok()?;
    ensure!(std::fs::read(&back)? == data, "the file came back different");
    let tar = s.docker(["cp", "box:/tmp", "-"]).ok()?;
    ensure!(tar.stdout_bytes > data.len() as u64, "the folder's tar is too short");
    let missing = s.docker(["cp", "box:/no/such", "-"]).finish()?;
    ensure!(!missing.status.success() && missing.talk().contains("/no/such"), "a missing path is not named");
    Ok(())
}

fn stats_top(s: &Session) -> Result<()> {
    s.out(&["run", "-d", "--name", "busy", BUSYBOX, "sleep", "600"])?;
    let stats = s.out(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "busy"])?;
    same("stats", stats, "busy 1".to_owned())?;
    ensure!(s.out(&["top", "busy"])?.contains("sleep 600"), "top does not show the process");
    s.out(&["pause", "busy"])?;
    same("paused", s.out(&["inspect", "-f", "{{.State.Paused}}", "busy"])?, "true".to_owned())?;
    s.out(&["unpause", "busy"])?;
    s.out(&["update", "--memory", "64m", "--memory-swap", "64m", "busy"])?;
    same(
        "memory limit in the container",
        s.out(&["exec", "busy", "cat", "/sys/fs/cgroup/memory.max"])?,
        "67108864".to_owned(),
    )?;
    s.out(&["rename", "busy", "idle"])?;
    same("renamed", s.out(&["ps", "--format", "{{.Names}}"])?, "idle".to_owned())
}

fn volumes(s: &Session) -> Result<()> {
    s.out(&["volume", "create", "--label", "kind=test", "kept"])?;
    s.out(&["run", "--rm", "-v", "kept:/data", BUSYBOX, "sh", "-c", "echo persistent > /data/file"])?;
    same(
        "volume content",
        s.out(&["run", "--rm", "-v", "kept:/data:ro", BUSYBOX, "cat", "/data/file"])?,
        "persistent".to_owned(),
    )?;
    let read_only = s.docker(["run", "--rm", "-v", "kept:/data:ro", BUSYBOX, "touch", "/data/x"]).finish()?;
    ensure!(!read_only.status.success(), "a read-only volume was written to");
    same("volume ls", s.out(&["volume", "ls", "-q", "--filter", "label=kind=test"])?, "kept".to_owned())?;
    same("volume rm", s.out(&["volume", "rm", "kept"])?, "kept".to_owned())
}

fn networks(s: &Session) -> Result<()> {
    s.out(&["network", "create", "--subnet", "10.99.0.0/24", "inner"])?;
    let done = (|| {
        let serve = "echo from-the-server > /tmp/index.html; httpd -f -p 8080 -h /tmp";
        s.out(&["run", "-d", "--name", "server", "--network", "inner", BUSYBOX, "sh", "-c", serve])?;
        let ask = "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://server:8080/ && exit; sleep 1; done; exit 1";
        same(
            "by name",
            s.out(&["run", "--rm", "--network", "inner", BUSYBOX, "sh", "-c", ask])?,
            "from-the-server".to_owned(),
        )?;
        ensure!(s.out(&["network", "inspect", "inner"])?.contains("10.99.0.0/24"), "the subnet is lost");
        let none = s.out(&["run", "--rm", "--network", "none", BUSYBOX, "ls", "/sys/class/net"])?;
        same("--network none", none, "lo".to_owned())
    })();
    s.sweep()?;
    s.out(&["network", "rm", "inner"])?;
    done
}

fn rm_force(s: &Session) -> Result<()> {
    s.out(&["run", "-d", "--name", "stubborn", BUSYBOX, "sh", "-c", "trap '' TERM; while :; do sleep 1; done"])?;
    same("rm -f", s.out(&["rm", "-f", "stubborn"])?, "stubborn".to_owned())?;
    same("ps afterwards", s.out(&["ps", "-aq"])?, String::new())
}

fn errors(s: &Session) -> Result<()> {
    let missing = s.docker(["inspect", "no-such-thing"]).finish()?;
    ensure!(missing.talk().contains("No such object: no-such-thing"), "{}", missing.talk());
    s.out(&["create", "--name", "once", BUSYBOX, "true"])?;
    let twice = s.docker(["create", "--name", "once", BUSYBOX, "true"]).finish()?;
    ensure!(twice.talk().contains("is already in use by container"), "{}", twice.talk());
    let limit = s.docker(["run", "--rm", "--memory", "1k", BUSYBOX]).finish()?;
    ensure!(limit.talk().contains("Minimum memory limit allowed is 6MB"), "{}", limit.talk());
    Ok(())
}
