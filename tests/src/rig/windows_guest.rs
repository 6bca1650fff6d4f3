//! Linux booted by the Windows engine: `boot.exe` under Wine, over the stand-in for the Windows hypervisor, in the emulated
//! machine, whose KVM is real. Both halves: the one that starts the machine, for the suite `windows`, and [`inside`], which
//! this same binary runs in there. What the guest does and says is in `windows_guest_says`; the whole product is a scene of its
//! own, `windows_desktop`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::outer::{Died, Outer};
use super::windows_desktop;
use super::windows_guest_says::{self as guest, DISK_BYTES};
use super::wine::Wine;
use crate::process::Finished;

/// Paths of what the inner half runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Asked {
    /// A ready prefix of Wine, with the stand-in in it.
    #[arg(long)]
    prefix: PathBuf,
    /// The program that boots.
    #[arg(long)]
    boot: PathBuf,
    /// The guest's kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// The guest's user space.
    #[arg(long)]
    busybox: PathBuf,
    #[command(flatten)]
    desktop: Option<windows_desktop::Paths>,
    /// Scenes.
    scenes: Vec<String>,
}

/// One boot.
struct Scene {
    name: &'static str,
    cpus: usize,
    /// What the stand-in is asked for.
    mmio: &'static str,
}

const SCENES: &[Scene] = &[
    Scene { name: "one-processor", cpus: 1, mmio: "bytes" },
    Scene { name: "two-processors", cpus: 2, mmio: "bytes" },
    // No exit carries an instruction, so each access is the platform's emulator's to work out.
    Scene { name: "emulator", cpus: 1, mmio: "emulator" },
];

/// How often the emulated machine is started anew when it dies by itself.
const LIVES: u32 = 4;
/// What one emulated machine may take.
const DEADLINE: Duration = Duration::from_secs(40 * 60);
/// What one guest may take, in seconds: emulated exits are some hundred times slower than a processor's.
const PATIENCE: u64 = 400;

/// Boots the emulated machine, and in it Linux.
pub fn boots(wine: &Wine) -> Result<()> {
    run(wine, SCENES.iter().map(|scene| scene.name).collect())
}

/// Boots the emulated machine, and in it the whole product.
pub fn desktop(wine: &Wine) -> Result<()> {
    run(wine, vec![windows_desktop::NAME])
}

fn run(wine: &Wine, mut left: Vec<&str>) -> Result<()> {
    wine.add_hypervisor()?;
    let busybox = Path::new("/bin/busybox");
    let outer = Outer::kept_in(&crate::image::cache()?, busybox)?;
    let (boot, image) = (crate::products::windows_boot()?, crate::image::ensure()?);
    let paths = [("prefix", wine.prefix()), ("boot", &boot), ("kernel", &image.join("vmlinux")), ("busybox", busybox)];
    let flags: String = paths.map(|(flag, path)| format!(" --{flag} {}", path.display())).concat();
    // Minutes to build, for one scene.
    let desktop = left.contains(&windows_desktop::NAME).then(|| windows_desktop::Paths::built(&image)).transpose()?;
    let flags = flags + &desktop.map(|paths| paths.flags()).unwrap_or_default();
    let program = crate::products::this_program()?;
    for life in 1..=LIVES {
        let command = format!("{} inside-windows{flags} {}", program.display(), left.join(" "));
        let died = match outer.run(&command, DEADLINE) {
            Ok(_) => return Ok(()),
            Err(error) => error.downcast::<Died>()?,
        };
        left.retain(|name| !died.lines.contains(&passed(name)));
        println!("windows: boot: {died}; {} scenes left, life {life} of {LIVES}", left.len());
        if left.is_empty() {
            return Ok(());
        }
    }
    bail!("the emulated machine died {LIVES} times")
}

/// What is printed for a scene that went well.
fn passed(name: &str) -> String {
    format!("windows: boot: {name} ok")
}

/// The half that runs in the emulated machine.
pub fn inside(asked: &Asked) -> Result<()> {
    let dir = Path::new("/tmp/guest");
    fs::create_dir_all(dir)?;
    let wine = Wine::over(&asked.prefix, &dir.join("prefix"))?;
    let initramfs = guest::initramfs(dir, &asked.busybox)?;
    let mut failed = Vec::new();
    if let Some(paths) = &asked.desktop {
        match windows_desktop::play(paths, &wine, &dir.join("desktop"), &asked.busybox) {
            Ok(()) => println!("{}", passed(windows_desktop::NAME)),
            Err(error) => {
                println!("windows: boot: {} FAILED: {error:#}", windows_desktop::NAME);
                failed.push(windows_desktop::NAME);
            }
        }
    }
    for scene in SCENES.iter().filter(|scene| asked.scenes.iter().any(|name| name == scene.name)) {
        let console = dir.join(scene.name);
        match boot(asked, &wine, scene, &initramfs, &console) {
            Ok(()) => println!("{}", passed(scene.name)),
            Err(error) => {
                println!("windows: boot: {} FAILED: {error:#}", scene.name);
                println!("{}", fs::read_to_string(&console).unwrap_or_default());
                failed.push(scene.name);
            }
        }
    }
    ensure!(failed.is_empty(), "Linux under the Windows engine: {}", failed.join(", "));
    Ok(())
}

fn boot(asked: &Asked, wine: &Wine, scene: &Scene, initramfs: &Path, console: &Path) -> Result<()> {
    let disk = console.with_extension("img");
    fs::write(&disk, guest::disk())?;
    // As Windows names them: Wine has this system's root as a drive.
    let name = |path: &Path| format!("z:{}", path.display());
    let begun = now()?;
    let run = wine.run([name(&asked.boot), name(&asked.kernel), name(initramfs), name(console)]);
    let run = run.args(["--whp", "--memory", "256", "--cmdline", guest::CMDLINE, "--disk", &name(&disk)]);
    let run = run.args(["--cpus", &scene.cpus.to_string(), "--seconds", &PATIENCE.to_string()]);
    let run = run.env("WHP_STANDIN_MMIO", scene.mmio).env("WHP_STANDIN_TRACE", "1");
    let done = run.within(Duration::from_secs(PATIENCE + 60)).finish()?;
    let said = fs::read_to_string(console).context("the guest's console")?;
    let looked = guest::check(&said, scene.cpus, begun..=now()?).and_then(|()| ended(&done));
    if let Err(error) = looked {
        println!("windows: boot: {}: {}", scene.name, done.talk());
        return Err(error);
    }
    let written = fs::read(&disk)?;
    ensure!(written.len() == DISK_BYTES && guest::is_written(&written), "what the guest wrote is not on the disk");
    for line in guest::told(&said) {
        println!("windows: boot: {}: {line}", scene.name);
    }
    show_exits(scene, &done);
    Ok(())
}

/// The guest must have ended by its reset line.
fn ended(done: &Finished) -> Result<()> {
    ensure!(done.status.success(), "boot.exe ended with {}", done.status);
    ensure!(done.talk().contains("  Reset; "), "the guest did not end by a reset");
    Ok(())
}

/// Exits by reason: the last line of `boot.exe` has all of its counters.
fn show_exits(scene: &Scene, done: &Finished) {
    let talk = done.talk();
    let counters = talk.split("exits: {").last().and_then(|rest| rest.split('}').next()).unwrap_or_default();
    let some = counters.split(", ").filter(|counter| !counter.ends_with(": 0"));
    println!("windows: boot: {}: exits: {}", scene.name, some.collect::<Vec<_>>().join(", ").replace('"', ""));
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
