//! What every engine is to `machine`: it takes the parts of a machine, runs them, and says how the run ended. One
//! implementation drives a hypervisor in this process (`vcpus`), one drives QEMU as a child (`software`).

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::ConsoleSink;
use crate::virtio::VirtioDevice;
use crate::virtio::console::LogWriter;

/// A boxed future, because engines are used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The guest asked for a reset (keyboard controller, triple fault, panic=-1).
    Reset,
    /// The guest asked for power off.
    PoweredOff,
    /// [`kill`](RunningEngine::kill) was called, or the machine was dropped.
    Killed,
    /// The engine itself could not go on.
    Crashed {
        /// One line for people; details are in the log.
        reason: String,
    },
}

/// Counters of a run. Empty where an engine cannot count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Exits from guest mode to this process by reason, all vCPUs together.
    pub exits: BTreeMap<&'static str, u64>,
    /// What the hypervisor counted by itself, in its own words (KVM: `exits` are all exits, those that the kernel served
    /// alone included).
    pub kernel: BTreeMap<&'static str, u64>,
}

/// Everything an engine needs; devices are in order of their place in the guest.
pub struct EngineParts {
    /// Number of vCPUs, at least 1.
    pub cpus: u8,
    /// Guest RAM in bytes, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// The uncompressed kernel.
    pub kernel: Vec<u8>,
    /// A newc cpio archive.
    pub initramfs: Vec<u8>,
    /// The command line without the engine's own additions.
    pub cmdline: String,
    /// The virtio devices.
    pub devices: Vec<Box<dyn VirtioDevice>>,
    /// Where console output goes, for an engine that brings a console of its own.
    pub console: ConsoleSink,
    /// The log of the console among `devices`, for what the kernel prints before that one works. `None` where the engine
    /// brings a console of its own.
    pub early_console: Option<Arc<LogWriter>>,
    /// A directory (0700) for sockets and short-lived files.
    pub runtime_dir: PathBuf,
    /// Take the MMIO notify path although doorbells exist.
    pub no_doorbell: bool,
}

/// A machine in motion. Dropping it stops it without waiting.
pub trait RunningEngine: Send + Sync {
    /// Returns how the run ended, once its threads or child are gone. May be called any number of times.
    fn wait(&self) -> BoxFuture<'_, Stop>;
    /// Stops at once, without asking the guest; returns when threads or child are gone.
    fn kill(&self) -> BoxFuture<'_, ()>;
    /// The counters so far.
    fn stats(&self) -> Stats;
}

/// A machine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for what the guest's layout cannot hold.
    #[error("{0}")]
    Config(String),
    /// The engine asked for is not there.
    #[error(transparent)]
    Unusable(#[from] crate::hv::Unusable),
    /// No RAM.
    #[error(transparent)]
    Memory(#[from] crate::memory::MemoryError),
    /// Kernel, initramfs or command line cannot be placed in guest memory.
    #[error(transparent)]
    Boot(#[from] crate::arch::BootError),
    /// A device could not be made.
    #[error("Device {name} could not be made")]
    Device {
        /// The device's name.
        name: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed on the way up.
    #[error("The {engine} engine could not start ({stage})")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// What it was doing.
        stage: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
