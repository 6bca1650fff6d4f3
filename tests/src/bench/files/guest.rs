//! The guest, and the same program on the host: whoever does the work, asked line by line. Called by `run`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::servers::{Held, Server};
use super::tree;
use crate::process::Run;

/// Longer than anything here takes.
const STUCK: Duration = Duration::from_secs(300);
/// As lighter's own engine of QEMU has it, and for the same reasons (vmm/src/hv/software/command_line.rs).
const MACHINE: &str = "microvm,acpi=off,rtc=on,isa-serial=off,x-option-roms=off,memory-backend=ram";
const CPU: &str = "max,-erms,-fsrm";
const CMDLINE: &str = "console=hvc0 quiet panic=-1 reboot=t no_timer_check mitigations=off";
/// The guest's memory.
const MEMORY: &str = "1024M";

/// Who does the work.
pub struct Worker {
    ask: ChildStdin,
    said: Receiver<String>,
    _child: Held,
}

/// A guest with the folders of all servers.
pub fn boot(dir: &Path, kernel: &Path, meter: &Path, servers: &[Server]) -> Result<Worker> {
    let initramfs = initramfs(dir, meter)?;
    let khz = servers.iter().map(|server| server.khz).max().unwrap_or_default();
    let clock = if khz > 0 { format!(" tsc=reliable tsc_early_khz={khz}") } else { String::new() };
    // Ours has shares in its root.
    let folders = servers.iter().map(|server| if server.name == "lighter" { "lighter/share" } else { server.name });
    let words = folders.collect::<Vec<_>>().join(" ");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", MACHINE, "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "1", "-m", MEMORY]);
    command.arg("-object").arg(format!("memory-backend-memfd,id=ram,size={MEMORY},share=on"));
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // What is no parameter of the kernel's is a word for the first process.
    command.arg("-append").arg(format!("{CMDLINE}{clock} files guest {words}"));
    command.args(["-global", "virtio-mmio.force-legacy=false", "-chardev", "stdio,id=console,signal=off"]);
    command.args(["-device", "virtio-serial-device,max_ports=1", "-device", "virtconsole,chardev=console"]);
    for Server { name, folder, socket, .. } in servers {
        let Some(socket) = socket else {
            let local =
                format!("local,id=fs{name},path={},security_model=passthrough,multidevs=remap", folder.display());
            command.arg("-fsdev").arg(local);
            command.arg("-device").arg(format!("virtio-9p-device,fsdev=fs{name},mount_tag={name}"));
            continue;
        };
        command.arg("-chardev").arg(format!("socket,id={name},path={}", socket.display()));
        let options = "queue-size=512,num-request-queues=1,queue_reset=off";
        command.arg("-device").arg(format!("vhost-user-fs-device,chardev={name},tag={name},{options}"));
    }
    command.args(["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.stderr(File::create(dir.join("qemu.log"))?);
    Worker::start(command)
}

/// The program on a tree of the host's own.
pub fn native(dir: &Path, meter: &Path, large: bool) -> Result<Worker> {
    tree::make(&dir.join("host"), large)?;
    rustix::fs::sync();
    let mut command = Command::new(meter);
    command.arg("files");
    Worker::start(command)
}

impl Worker {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Held(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        let (ask, said) = pipes(&mut child.0).context("pipes")?;
        let worker = Self { ask, said, _child: child };
        worker.answer()?;
        Ok(worker)
    }

    /// Seconds that `measure` of `folder` took.
    pub fn seconds(&mut self, measure: &str, folder: &Path) -> Result<f64> {
        writeln!(self.ask, "{measure} {}", folder.display())?;
        Ok(self.answer()?.parse::<f64>().context("a time")? / 1e9)
    }

    /// The next answer; the kernel's own lines, and the echo of what was asked, are none.
    fn answer(&self) -> Result<String> {
        let mut other = Vec::new();
        loop {
            let line = self.said.recv_timeout(STUCK).with_context(|| format!("no answer: {}", other.join("\n")))?;
            match line.trim().split_once(' ') {
                Some(("=", answer)) => return Ok(answer.to_owned()),
                Some(("!", error)) => bail!("{error}"),
                _ => other.push(line),
            }
        }
    }
}

fn pipes(child: &mut Child) -> Option<(ChildStdin, Receiver<String>)> {
    let (ask, said) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
    let (sender, receiver) = channel();
    // Ends with the child.
    std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    Some((ask, receiver))
}

fn initramfs(dir: &Path, meter: &Path) -> Result<std::path::PathBuf> {
    let (tree, packed) = (dir.join("initramfs.d"), dir.join("initramfs"));
    std::fs::create_dir_all(tree.join("dev"))?;
    std::fs::copy(meter, tree.join("init"))?;
    let pack = "cd \"$1\" && chmod 755 init && mknod dev/console c 5 1 && find . | cpio -o -H newc --quiet > \"$2\"";
    Run::new("sh").args(["-c", pack, "sh"]).args([&tree, &packed]).ok()?;
    Ok(packed)
}
