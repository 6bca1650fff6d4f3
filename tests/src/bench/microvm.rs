//! Time and exits to PID 1 under KVM: ours and QEMU's microvm with the same kernel, root, initramfs and arguments, in turn,
//! inside the emulated machine of the kvm rig. Emulation inflates an exit far more than an instruction, so the counts
//! are the figures and the times are shown as ratios of one session only.
//!
//! Both are seen from outside: the clock starts when the process is spawned and stops when the agent's first console
//! line is there; exits are read from KVM's own statistics at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::{boot, exit_reasons, median, private_memory};
use crate::process::{Run, wait};
use crate::rig::outer::Outer;
use crate::rig::software;
use crate::rig::tools::Tools;

/// What the agent's console lines begin with.
const MARK: &str = "agent: ";
/// What a measurement's line on the outer console begins with.
const LINE: &str = "BENCH ";
/// Emulated KVM exits are some hundred times slower than a processor's.
const PATIENCE: u32 = 4;
/// KVM's counters that are shown.
const COUNTERS: &[&str] = &["exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "insn_emulation"];

/// Exits that the guest caused: all but those for the host's own interrupts.
const GUESTS_OWN: &str = "guest_exits";

/// Runs the comparison in the outer machine and prints it.
pub fn compare(tools: &Tools, rounds: u32) -> Result<Value> {
    let outer = Outer::of(tools)?;
    let binary = crate::products::this_program()?;
    let command = format!("{} inside-bench {} --rounds {rounds}", binary.display(), tools.flags());
    let lines = outer.run(&command, Duration::from_secs(30 * 60))?;
    let runs: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line.strip_prefix(LINE)?).ok()).collect();
    ensure!(!runs.is_empty(), "no measurement came out of the emulated machine");
    Ok(show(&runs))
}

fn show(runs: &[Value]) -> Value {
    let of = |who: &str, what: &str| {
        let values: Vec<f64> =
            runs.iter().filter(|run| run["who"] == who).filter_map(|run| run[what].as_f64()).collect();
        median(&values)
    };
    println!("\nKVM inside an emulated machine, to PID 1, medians; times only as ratios");
    println!("  {:<28} {:>12} {:>12} {:>8}", "", "lighter", "microvm", "ratio");
    let mut table = BTreeMap::new();
    for what in ["spawn_ms", "vmm_ms", "private_kib", GUESTS_OWN].iter().chain(COUNTERS) {
        let (Some(ours), Some(theirs)) = (of("lighter", what), of("microvm", what)) else { continue };
        let ratio = ours / theirs.max(1.0);
        println!("  {what:<28} {ours:>12.0} {theirs:>12.0} {ratio:>8.2}");
        table.insert(*what, json!({ "lighter": ours, "microvm": theirs, "ratio": ratio }));
    }
    json!({ "medians": table, "reasons": show_reasons(runs), "starts": show_starts(runs), "runs": runs })
}

/// Whole starts, to the first container. The peer has nobody to answer the agent, so it has none.
fn show_starts(runs: &[Value]) -> Value {
    let starts = runs.iter().filter_map(|run| serde_json::from_value(run["start"].clone()).ok()).collect::<Vec<_>>();
    let table = boot::medians(&starts);
    println!("\nKVM inside an emulated machine, whole starts of lighter, medians of {} (milliseconds)", starts.len());
    boot::show(&table);
    json!(table)
}

fn show_reasons(runs: &[Value]) -> Value {
    let of = |who: &str| {
        let found = runs.iter().find(|run| run["traced"] == who).and_then(|run| run["counts"]["kvm_exit"].as_object());
        found.cloned().unwrap_or_default()
    };
    let (ours, theirs) = (of("lighter"), of("microvm"));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let count = |counts: &Map<String, Value>, name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or_default();
    println!("\nexits by reason, to PID 1 and the end of the process, one run each");
    for name in names {
        println!("  {name:<36} {:>8} {:>8}", count(&ours, name), count(&theirs, name));
    }
    json!({ "lighter": ours, "microvm": theirs })
}

/// The half that runs in the outer machine: ours and theirs in turn, one line each.
pub fn inside(tools: &Tools, rounds: u32) -> Result<()> {
    // Absent where debugfs is already mounted.
    drop(Run::new("mount").args(["-t", "debugfs", "debugfs", "/sys/kernel/debug"]).finish()?);
    // A pair by itself, because counting by reason takes time. It also tells which arguments the peer's kernel is to have.
    exit_reasons::count()?;
    let cmdline = ours(tools)?["cmdline"].as_str().context("the daemon's log names no kernel arguments")?.to_owned();
    println!("{LINE}{}", json!({ "traced": "lighter", "counts": exit_reasons::counted()? }));
    exit_reasons::count()?;
    theirs(tools, &cmdline)?;
    println!("{LINE}{}", json!({ "traced": "microvm", "counts": exit_reasons::counted()? }));
    for round in 0..rounds {
        for turn in 0..2 {
            let figures = if (round + turn) % 2 == 0 { ours(tools)? } else { theirs(tools, &cmdline)? };
            println!("{LINE}{figures}");
        }
    }
    for _ in 0..rounds {
        println!("{LINE}{}", json!({ "start": boot::one_start(tools, "kvm", PATIENCE)? }));
    }
    Ok(())
}

fn ours(tools: &Tools) -> Result<Value> {
    let dir = tempfile::Builder::new().prefix("lb").tempdir_in("/tmp")?;
    let session = software::session(tools, dir.path(), "kvm", PATIENCE)?;
    let timeline = dir.path().join("timeline.json");
    let mut command = Command::new(&session.lighter);
    command.args([
        "start",
        "--foreground",
        "--engine",
        "kvm",
        "--cpus",
        "1",
        "--memory",
        "1",
        "--disk",
        "1",
        "--activate=false",
    ]);
    command
        .env("LIGHTER_HOME", dir.path().join("home"))
        .env("DOCKER_CONFIG", dir.path().join("docker"))
        .env("HOME", dir.path());
    command.env("LIGHTER_TIMELINE", &timeline).env("LIGHTER_CACHE", &tools.cache);
    let spawned = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let console = dir.path().join("home/default/console.log");
    let seen = until_mark(&mut child, || std::fs::read_to_string(&console).unwrap_or_default());
    let figures = seen.and_then(|()| figures("lighter", &child, spawned));
    stop(&mut child);
    let mut figures = figures?;
    // Hashing the image comes before the VMM's own work and QEMU does nothing like it, so it is shown by itself.
    let log = std::fs::read_to_string(dir.path().join("home/default/daemon.log")).unwrap_or_default();
    figures["cmdline"] = json!(log.split("cmdline=\"").nth(1).and_then(|rest| rest.split('"').next()));
    if let Some(before) = stage_ms(&log, "machine") {
        figures["vmm_ms"] = json!(figures["spawn_ms"].as_f64().unwrap_or_default() - before);
    }
    Ok(figures)
}

fn theirs(tools: &Tools, cmdline: &str) -> Result<Value> {
    let dir = tempfile::Builder::new().prefix("lb").tempdir_in("/tmp")?;
    let image = current_image(&tools.cache)?;
    let initramfs = initramfs(dir.path(), &image)?;
    let data = dir.path().join("data.img");
    std::fs::File::create(&data)?.set_len(1 << 30)?;
    let console = dir.path().join("console");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-M", "microvm,acpi=off,rtc=off", "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "1024"]);
    command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-device", "virtio-serial-device"]);
    command
        .arg("-chardev")
        .arg(format!("file,id=c,path={}", console.display()))
        .args(["-device", "virtconsole,chardev=c"]);
    command.args(["-device", "virtio-rng-device"]);
    for (id, serial, path, extra) in
        [("r", "lighter-root", image.join("root.erofs"), ",readonly=on"), ("d", "lighter-data", data, "")]
    {
        command.arg("-drive").arg(format!("if=none,id={id},format=raw,file={}{extra}", path.display()));
        command.arg("-device").arg(format!("virtio-blk-device,drive={id},serial={serial}"));
    }
    command.arg("-kernel").arg(image.join("vmlinux")).arg("-initrd").arg(initramfs).args(["-append", cmdline]);
    let spawned = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot run QEMU")?;
    let seen = until_mark(&mut child, || std::fs::read_to_string(&console).unwrap_or_default());
    let figures = seen.and_then(|()| figures("microvm", &child, spawned));
    stop(&mut child);
    let mut figures = figures?;
    figures["vmm_ms"] = figures["spawn_ms"].clone();
    Ok(figures)
}

/// Polls the console every millisecond; the end of the child is an error.
fn until_mark(child: &mut Child, console: impl Fn() -> String) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(240);
    while !console().contains(MARK) {
        if let Some(status) = child.try_wait()? {
            bail!("ended with {status} before PID 1; console: {}", console());
        }
        ensure!(Instant::now() < end, "no PID 1 within 240 s; console: {}", console());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn figures(who: &str, child: &Child, spawned: Instant) -> Result<Value> {
    let spawn_ms = spawned.elapsed().as_secs_f64() * 1000.0;
    let mut figures = json!({ "who": who, "spawn_ms": spawn_ms });
    // KVM names a machine's folder after the thread that made it.
    let threads: Vec<String> = std::fs::read_dir(format!("/proc/{}/task", child.id()))?
        .flatten()
        .map(|thread| format!("{}-", thread.file_name().to_string_lossy()))
        .collect();
    for entry in std::fs::read_dir("/sys/kernel/debug/kvm").context("KVM's statistics")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !threads.iter().any(|thread| name.starts_with(thread)) {
            continue;
        }
        for counter in COUNTERS {
            let Ok(text) = std::fs::read_to_string(entry.path().join(counter)) else { continue };
            figures[*counter] = json!(text.trim().parse::<f64>().unwrap_or_default());
        }
    }
    // A slow machine takes more interrupts of its own on the way, whoever runs the guest.
    if let (Some(all), Some(host)) = (figures["exits"].as_f64(), figures["irq_exits"].as_f64()) {
        figures[GUESTS_OWN] = json!(all - host);
    }
    figures["private_kib"] = json!(private_memory::kib(u64::from(child.id()))?);
    Ok(figures)
}

fn stop(child: &mut Child) {
    drop(child.kill());
    drop(wait(child, Duration::from_secs(20)));
}

/// The `host_ms` of a stage in the daemon's log.
fn stage_ms(log: &str, stage: &str) -> Option<f64> {
    let line = log
        .lines()
        .find(|line| line.contains(&format!("stage=\"{stage}\"")) || line.contains(&format!("stage={stage} ")))?;
    let after = line.split("host_ms=").nth(1)?;
    after.split_whitespace().next()?.parse().ok()
}

/// The guest image that was built last.
pub fn current_image(cache: &Path) -> Result<PathBuf> {
    let images = cache.join("images");
    let name = std::fs::read_to_string(images.join("current")).context("no guest image")?;
    Ok(images.join(name.trim()))
}

/// The agent and a secret that no host will accept: it is enough to reach PID 1.
fn initramfs(dir: &Path, image: &Path) -> Result<PathBuf> {
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("dev"))?;
    std::fs::copy(image.join("agent"), tree.join("init"))?;
    std::fs::write(tree.join("secret"), "0".repeat(64))?;
    let packed = dir.join("initramfs");
    let pack = format!(
        "cd '{0}' && chmod 755 init && mknod dev/console c 5 1 && find . | cpio -o -H newc --quiet > '{1}'",
        tree.display(),
        packed.display()
    );
    Run::new("sh").args(["-c", &pack]).ok()?;
    let mut head = [0u8; 6];
    std::fs::File::open(&packed)?.read_exact(&mut head)?;
    ensure!(&head == b"070701", "cpio wrote no newc archive");
    Ok(packed)
}
