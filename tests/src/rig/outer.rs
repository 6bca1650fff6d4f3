//! The outer machine of the kvm rig: QEMU emulating an AMD CPU with SVM, running Debian's kernel with `kvm-amd`, so that a
//! real `/dev/kvm` exists in it. This host's root is its root (read-only, over 9p) with fresh temporary file systems on top.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::tools::{self, Tools};
use crate::process::Run;

/// Kernel modules in load order, as Debian names them.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "netfs",
    "fscache",
    "9pnet",
    "9pnet_virtio",
    "9p",
    "irqbypass",
    "ccp",
    "kvm",
    "kvm-amd",
    // For the made-up world of the network cases.
    "veth",
];

/// The line that ends a run inside the machine.
const RESULT: &str = "RIG-RESULT ";

/// How long the machine may not be heard of. In one that lives, somebody writes to its second serial port each second.
const STILL: Duration = Duration::from_secs(120);
/// How long it may take to be heard of at all.
const BOOT: Duration = Duration::from_secs(300);

/// The machine itself ended before its command did: its own kernel or QEMU's emulation of nested virtualisation gave up.
#[derive(Debug)]
pub struct Died {
    ended: String,
    /// What had come out by then.
    pub lines: Vec<String>,
}

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the emulated machine ended before the command did (QEMU: {})", self.ended)
    }
}

impl std::error::Error for Died {}

/// What the outer machine boots.
pub struct Outer {
    /// QEMU with all that it needs, in one tree.
    qemu: PathBuf,
    /// Folder with the kernel package's tree (`boot/vmlinuz-*`, `lib/modules/*`).
    kernel_tree: PathBuf,
    /// A static busybox.
    busybox: PathBuf,
}

/// RAM in MiB.
const MEMORY: u32 = 6144;

impl Outer {
    /// Finds or fetches what it is made of.
    pub fn of(tools: &Tools) -> Result<Self> {
        Self::kept_in(&tools.cache, &tools.busybox)
    }

    /// The same in a cache, for who needs none of the other tools.
    pub fn kept_in(cache: &Path, busybox: &Path) -> Result<Self> {
        // QEMU is a recent one, not the host's. Before 10.2 the emulated processor changed the word in which its interrupts wait
        // without an atomic instruction at each exit of a nested guest, and one that came at that moment was lost: the machine
        // stood still within minutes when it had much to do.
        let [qemu, kernel_tree] = [tools::outer_qemu(cache)?, tools::outer_kernel(cache)?];
        Ok(Self { qemu, kernel_tree, busybox: busybox.to_owned() })
    }

    /// Boots, runs `command` (one shell line) in this host's root as root, prints its output lines as they come, and
    /// returns them. Fails if the command does or the machine does not end within `deadline`.
    pub fn run(&self, command: &str, deadline: Duration) -> Result<Vec<String>> {
        let scratch = tempfile::tempdir()?;
        let initramfs = self.initramfs(scratch.path(), command)?;
        let kernel = first(&self.kernel_tree.join("boot"), "vmlinuz-")?;
        let mut qemu = self.emulator();
        // One CPU: with two, QEMU's TCG threads can deliver the breakpoint that guards a rewrite of kernel code after the rewrite
        // is over, which Linux answers with an oops, and KVM rewrites code whenever a machine comes or goes.
        qemu.args(["-accel", "tcg,thread=multi", "-smp", "1", "-cpu", "max", "-m"]).arg(MEMORY.to_string());
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        qemu.args([
            "-append",
            "console=ttyS0 reboot=t panic=-1 quiet",
            "-display",
            "none",
            "-monitor",
            "none",
            "-vga",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-virtfs",
        ]);
        qemu.arg("local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap");
        let pulse = scratch.path().join("pulse");
        qemu.args(["-serial", "stdio", "-serial"]).arg(format!("file:{}", pulse.display()));
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = qemu.spawn().context("cannot run QEMU")?;
        let output = child.stdout.take().context("no pipe from QEMU")?;
        let reader = std::thread::spawn(move || relay(output));
        let ended = watch(&mut child, &pulse, deadline).context("the emulated machine");
        let lines = reader.join().map_err(|_| anyhow::anyhow!("the console reader panicked"))?;
        let ended = ended?;
        match lines.iter().rev().find_map(|line| line.strip_prefix(RESULT)) {
            Some("0") => Ok(lines),
            Some(code) => {
                let said = lines.iter().rev().find(|line| line.starts_with("error:")).map_or("", |line| line.as_str());
                bail!("the command in the emulated machine ended with {code}: {said}")
            }
            None => Err(Died { ended, lines }.into()),
        }
    }

    /// QEMU, started by the dynamic loader of its own tree.
    fn emulator(&self) -> Command {
        let libraries = self.qemu.join("usr/lib/x86_64-linux-gnu");
        let modules = libraries.join("qemu");
        let data = self.qemu.join("usr/share");
        let mut qemu = Command::new(self.qemu.join("usr/lib64/ld-linux-x86-64.so.2"));
        qemu.arg("--library-path").arg(&libraries).arg(self.qemu.join("usr/bin/qemu-system-x86_64"));
        qemu.env("QEMU_MODULE_DIR", modules).arg("-L").arg(data.join("qemu")).arg("-L").arg(data.join("seabios"));
        qemu
    }

    fn initramfs(&self, scratch: &Path, command: &str) -> Result<PathBuf> {
        let tree = scratch.join("tree");
        for name in ["bin", "m", "proc", "sys", "dev", "new"] {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::copy(&self.busybox, tree.join("bin/busybox"))?;
        let modules = modules(&self.kernel_tree)?;
        for name in MODULES {
            let Some(source) = modules.iter().find(|path| module_name(path) == name.replace('-', "_")) else {
                continue;
            };
            unpack(source, &tree.join("m").join(format!("{name}.ko")))?;
        }
        fs::write(tree.join("init"), init_script(command))?;
        Run::new("chmod").args(["755"]).args([tree.join("init")]).ok()?;
        let packed = scratch.join("initramfs");
        let pack = format!("cd '{}' && find . | cpio -o -H newc --quiet > '{}'", tree.display(), packed.display());
        Run::new("sh").args(["-c", &pack]).ok()?;
        Ok(packed)
    }
}

/// Waits for QEMU's end, and says how it ended. Emulated nested virtualisation that loses an interrupt leaves a machine that
/// stands still for ever, idle or busy with nothing, and with it every deadline in there: it is killed, as if it had ended by
/// itself.
fn watch(child: &mut Child, pulse: &Path, deadline: Duration) -> Result<String> {
    let end = Instant::now() + deadline;
    let (mut beats, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.to_string());
        }
        let now = fs::metadata(pulse).map_or(0, |file| file.len());
        if now != beats {
            (beats, since) = (now, Instant::now());
        }
        let over = Instant::now() >= end;
        let patience = if beats == 0 { BOOT } else { STILL };
        if over || since.elapsed() >= patience {
            // It may have ended just now.
            drop(child.kill());
            drop(child.wait());
            ensure!(!over, "did not end within {} s and was killed", deadline.as_secs());
            return Ok(format!("it stood still for {} s and was killed", patience.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn init_script(command: &str) -> String {
    let mut script = String::from("#!/bin/busybox sh\nB=/bin/busybox\n");
    script += "$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev\n";
    for module in MODULES {
        // Some are built into newer kernels; what matters is /dev/kvm at the end.
        // The cases need none of what these switch off, and the less of SVM is emulated the better.
        let options = if *module == "kvm-amd" { " nested=0 avic=0 vgif=0 vls=0" } else { "" };
        script += &format!("[ -e /m/{module}.ko ] && $B insmod /m/{module}.ko{options}\n");
    }
    script += "[ -e /dev/kvm ] || echo 'no /dev/kvm in the emulated machine'\n\
        $B mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose host /new\n\
        for t in proc sysfs:sys devtmpfs:dev; do $B mount -t ${t%%:*} x /new/${t##*:}; done\n\
        $B mkdir -p /new/dev/pts /new/dev/shm; $B mount -t devpts pts /new/dev/pts; $B mount -t tmpfs shm /new/dev/shm\n\
        for t in /tmp /run /var/tmp; do $B mount -t tmpfs -o mode=1777 t /new$t; done\n\
        $B cp -a /new/etc /new/run/etc; $B mount -o bind /new/run/etc /new/etc\n\
        $B ip link set lo up\n";
    // What was installed for the cases was found by this path, and is to be found in there too.
    let path = std::env::var("PATH").unwrap_or_default();
    script += &format!("export PATH={}:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp\n", quoted(&path));
    script += "while :; do echo > /dev/ttyS1; $B sleep 1; done &\n";
    script += &format!("$B chroot /new /bin/sh -c {}\n", quoted(command));
    script += &format!("code=$?; echo; echo {RESULT}$code; $B sync; $B reboot -f\n");
    script
}

/// One word of a shell's line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Prints the console's lines as they come, without carriage returns, and keeps them.
fn relay(output: impl std::io::Read) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if !line.starts_with(RESULT) && !line.trim().is_empty() {
            println!("{line}");
        }
        lines.push(line);
    }
    lines
}

fn first(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    let found =
        names.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.with_context(|| format!("no {prefix}* in {}", folder.display()))
}

fn modules(tree: &Path) -> Result<Vec<PathBuf>> {
    let found = Run::new("find")
        .args([tree])
        .args(["-name", "*.ko", "-o", "-name", "*.ko.xz", "-o", "-name", "*.ko.zst"])
        .ok()?;
    let paths: Vec<PathBuf> = found.text().lines().map(PathBuf::from).collect();
    ensure!(!paths.is_empty(), "no kernel modules below {}", tree.display());
    Ok(paths)
}

fn module_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().replace('-', "_")
}

fn unpack(source: &Path, target: &Path) -> Result<()> {
    let unpacker = match source.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz -dc",
        Some("zst") => "zstd -dcq",
        _ => "cat",
    };
    Run::new("sh").args(["-c", &format!("{unpacker} '{}' > '{}'", source.display(), target.display())]).ok().map(drop)
}
