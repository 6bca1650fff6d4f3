//! The engine for machines without a usable hypervisor: QEMU's TCG, a child process, is CPU and RAM, and has console and balloon,
//! for which there is no vhost-user; all other devices are ours. Called by `hv`, which chooses engines.
//!
//! ```text
//!   launch: sockets, device threads ─► QEMU starts ─► it answers ─► RUNNING ─► it exits ─► threads end ─► Stop
//!                                          │              │            │
//!                                          └──────────────┴────────────┴─ kill, broken device, deadline: SIGKILL
//! ```
//! One supervisor thread starts the child and waits for it. Every other thread ends once the child is gone, because the
//! child holds the other end of its socket.

mod command_line;
mod console;
mod doorway;
mod fate;
mod handover;
mod monitor;
mod qemu;
mod supervisor;
/// The time stamp counter's rate, which a guest is told.
pub mod tsc;
/// The transport: our devices for QEMU's queues.
#[path = "../../virtio/vhost_user/mod.rs"]
pub mod vhost_user;
mod wiring;

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use self::command_line::CommandLine;
use self::fate::Fate;
use self::handover::Handover;
use self::supervisor::Supervisor;
use self::wiring::Wiring;
use crate::engine::{BoxFuture, EngineParts, RunningEngine, StartError, Stats, Stop};

pub use self::qemu::probe;

/// How long QEMU may take until its devices are set up; it takes about 0.3 s.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Why QEMU did not get as far as running the guest.
#[derive(Debug, thiserror::Error)]
enum QemuError {
    #[error("QEMU {0}")]
    Ended(String),
    #[error("QEMU was not ready after {} s", START_DEADLINE.as_secs())]
    Silent,
    #[error("QEMU has no vhost-user device for {0}")]
    NoDevice(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl QemuError {
    fn at(self, stage: &'static str) -> StartError {
        StartError::Engine { engine: "software", stage, source: Box::new(self) }
    }
}

/// Starts QEMU with `parts`. Must be called inside a tokio runtime; blocks for the fraction of a second that QEMU needs.
pub fn launch(parts: EngineParts) -> Result<Box<dyn RunningEngine>, StartError> {
    let program = qemu::find()?;
    let fate = Arc::new(Fate::default());
    let (supervisor, stop) = prepare(program, parts, &fate).map_err(|error| error.at("setting up"))?;
    let (started, outcome) = mpsc::channel();
    std::thread::Builder::new()
        .name("qemu".into())
        .spawn(move || supervisor.run(&started))
        .map_err(|error| QemuError::Io(error).at("setting up"))?;
    // The supervisor keeps the deadline; it answers or is gone.
    let lost = || QemuError::Io(io::Error::other("the supervising thread ended"));
    let result = outcome.recv().unwrap_or_else(|_| Err(lost()));
    result.map_err(|error| error.at("starting QEMU"))?;
    Ok(Box::new(Software { fate, stop }))
}

type Prepared = (Supervisor, watch::Receiver<Option<Stop>>);

/// Makes everything that QEMU is to inherit, and the command that starts it.
fn prepare(program: std::path::PathBuf, parts: EngineParts, fate: &Arc<Fate>) -> Result<Prepared, QemuError> {
    let counter = tsc::Sample::take();
    let kernel = Handover::new("kernel", &parts.kernel)?;
    let initramfs = Arc::new(Handover::new("initramfs", &parts.initramfs)?);
    let mut wiring = Wiring::default();
    for device in parts.devices {
        wiring.device(device, fate, &initramfs, &parts.runtime_dir)?;
    }
    let console = wiring.socket()?;
    wiring.threads.push(console::record(console.ours, parts.console)?);
    let monitor = wiring.socket()?;
    let command = CommandLine {
        program,
        cpus: parts.cpus,
        memory_bytes: parts.memory_bytes,
        kernel: wiring.file(&kernel)?,
        initramfs: wiring.file(&initramfs)?,
        cmdline: parts.cmdline,
        tsc_khz: counter.and_then(tsc::Sample::kilohertz),
        console: console.theirs,
        monitor: monitor.theirs,
        devices: wiring.devices,
    };
    let (stopped, stop) = watch::channel(None);
    let supervisor = Supervisor {
        command: command.build(),
        inherited: wiring.inherited,
        monitor: monitor.ours,
        kernel,
        threads: wiring.threads,
        fate: Arc::clone(fate),
        stopped,
    };
    Ok((supervisor, stop))
}

/// A running QEMU.
struct Software {
    fate: Arc<Fate>,
    stop: watch::Receiver<Option<Stop>>,
}

impl RunningEngine for Software {
    fn wait(&self) -> BoxFuture<'_, Stop> {
        let mut stop = self.stop.clone();
        Box::pin(async move {
            match stop.wait_for(Option::is_some).await {
                Ok(stop) => stop.clone().expect("wait_for returns what is_some holds for"),
                Err(_) => Stop::Crashed { reason: "The thread that supervises QEMU ended".into() },
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        self.fate.seal(Stop::Killed);
        Box::pin(async move {
            self.wait().await;
        })
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl Drop for Software {
    fn drop(&mut self) {
        self.fate.seal(Stop::Killed);
    }
}
