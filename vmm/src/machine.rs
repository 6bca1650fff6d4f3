//! The running VM, and the front door of this crate: builds the devices, hands them to the engine, and gives the host side
//! what it needs to talk to the guest.
//!
//! ```text
//!   start() ──► Running ──(guest resets)────────► Stop::Reset
//!                  │─────(guest powers off)─────► Stop::PoweredOff
//!                  │─────(kill() or drop)───────► Stop::Killed
//!                  └─────(engine cannot go on)──► Stop::Crashed
//! ```
//! A machine runs once: every way out is final, and the same `Stop` is told to everybody who waits.

use std::sync::Arc;

use lighter_protocol::ports::GUEST_CID;
use tokio::sync::watch;

use crate::config::{ConsoleSink, DiskConfig, EngineKind, MachineConfig};
use crate::engine::{EngineParts, RunningEngine, StartError, Stats, Stop};
use crate::hv;
use crate::memory::GiveBack;
use crate::virtio::VirtioDevice;
use crate::virtio::balloon::Balloon;
use crate::virtio::blk::{Block, Trouble};
use crate::virtio::console::{Console, LogWriter};
use crate::virtio::fs::{Fs, NativeFs};
use crate::virtio::net::Net;
use crate::virtio::rng::Rng;
use crate::virtio::vsock::{Vsock, VsockHandle};

/// Guest RAM is handed out in steps of this many bytes.
const MEMORY_STEP: u64 = 2 << 20;
/// The least RAM that a kernel and the agent boot in, in bytes.
const MEMORY_MIN: u64 = 64 << 20;
/// The most, in bytes: what the smallest physical address width of current CPUs holds with room to spare.
const MEMORY_MAX: u64 = 256 << 30;

/// A running VM. Dropping it stops the guest hard without waiting; [`kill`](Self::kill) waits.
pub struct Machine {
    engine_kind: EngineKind,
    engine: Box<dyn RunningEngine>,
    vsock: VsockHandle,
    trouble: Trouble,
}

impl Machine {
    /// Builds and starts a machine. Must be called inside a tokio runtime, whose tasks then serve the devices.
    pub fn start(config: MachineConfig) -> Result<Self, StartError> {
        check(&config)?;
        let engine_kind = config.engine;
        let trouble = Trouble::default();
        let (mut devices, vsock) = devices(config.disks, config.network, config.folders, &trouble)?;
        let early_console = match engine_kind {
            EngineKind::Software => None,
            EngineKind::Kvm | EngineKind::Whp | EngineKind::Hvf => {
                Some(in_process_devices(&mut devices, config.console.clone(), GiveBack::here())?)
            }
        };
        let parts = EngineParts {
            cpus: config.cpus,
            memory_bytes: config.memory_bytes,
            kernel: config.kernel,
            initramfs: config.initramfs,
            cmdline: config.cmdline,
            devices,
            console: config.console,
            early_console,
            runtime_dir: config.runtime_dir,
            no_doorbell: config.no_doorbell,
        };
        Ok(Self { engine_kind, engine: hv::launch(engine_kind, parts)?, vsock, trouble })
    }

    /// Dials ports of the guest, and listens for it.
    pub fn vsock(&self) -> VsockHandle {
        self.vsock.clone()
    }

    /// Which engine runs it.
    pub fn engine(&self) -> EngineKind {
        self.engine_kind
    }

    /// What is wrong with its disks, for a person; `None` is nothing.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.watch()
    }

    /// Returns how the run ended, after its threads or child are gone. Any number of callers may wait.
    pub async fn wait(&self) -> Stop {
        self.engine.wait().await
    }

    /// Stops at once without asking the guest; returns when threads or child are gone.
    pub async fn kill(&self) {
        self.engine.kill().await;
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }
}

/// Refuses what no engine could hold.
fn check(config: &MachineConfig) -> Result<(), StartError> {
    let refuse = |text: String| Err(StartError::Config(text));
    let most = crate::arch::MAX_CPUS;
    if config.cpus == 0 || config.cpus > most {
        return refuse(format!("A machine has 1 to {most} CPUs, not {}", config.cpus));
    }
    let possible = MEMORY_MIN..=MEMORY_MAX;
    if !possible.contains(&config.memory_bytes) || !config.memory_bytes.is_multiple_of(MEMORY_STEP) {
        return refuse(format!(
            "A machine has {} MiB to {} GiB of memory in steps of {} MiB, not {} bytes",
            MEMORY_MIN >> 20,
            MEMORY_MAX >> 30,
            MEMORY_STEP >> 20,
            config.memory_bytes
        ));
    }
    Ok(())
}

type Devices = (Vec<Box<dyn VirtioDevice>>, VsockHandle);

/// The devices in the order in which the guest sees them: disks, vsock, rng, network, folders. Then come console and balloon.
fn devices(
    disks: Vec<DiskConfig>,
    network: Option<Net>,
    folders: Option<Fs<NativeFs>>,
    trouble: &Trouble,
) -> Result<Devices, StartError> {
    let mut devices: Vec<Box<dyn VirtioDevice>> = Vec::new();
    for disk in disks {
        let block = Block::new(disk, trouble.clone())
            .map_err(|source| StartError::Device { name: "disk", source: Box::new(source) })?;
        devices.push(Box::new(block));
    }
    let (vsock, handle) = Vsock::new(GUEST_CID);
    devices.push(Box::new(vsock));
    devices.push(Box::new(Rng::new()));
    devices.extend(network.map(|net| Box::new(net) as Box<dyn VirtioDevice>));
    devices.extend(folders.map(|fs| Box::new(fs) as Box<dyn VirtioDevice>));
    Ok((devices, handle))
}

/// Adds the devices that QEMU has its own of: the console, of which the log is returned, and where guest memory can be given back
/// to the system, the balloon.
fn in_process_devices(
    devices: &mut Vec<Box<dyn VirtioDevice>>,
    sink: ConsoleSink,
    give_back: Option<GiveBack>,
) -> Result<Arc<LogWriter>, StartError> {
    let console =
        Console::new(sink).map_err(|source| StartError::Device { name: "console", source: Box::new(source) })?;
    let log = console.log();
    devices.push(Box::new(console));
    devices.extend(give_back.map(|give_back| Box::new(Balloon::new(give_back)) as Box<dyn VirtioDevice>));
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kernel: Vec<u8>) -> (MachineConfig, tempfile::TempDir) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("disk");
        let file = std::fs::File::create_new(&path).expect("a new file");
        file.set_len(1 << 20).expect("a sparse file");
        let config = MachineConfig {
            engine: EngineKind::Kvm,
            cpus: 2,
            memory_bytes: MEMORY_MIN,
            kernel,
            initramfs: vec![7; 5000],
            cmdline: "quiet".into(),
            disks: vec![DiskConfig { file, path, read_only: true, serial: "root".into() }],
            network: None,
            folders: None,
            console: ConsoleSink { path: place.path().join("console.log"), max_bytes: 1 << 20 },
            runtime_dir: place.path().into(),
            no_doorbell: false,
        };
        (config, place)
    }

    fn refused(change: impl FnOnce(&mut MachineConfig)) -> String {
        let (mut config, _place) = config(Vec::new());
        change(&mut config);
        match Machine::start(config) {
            Ok(_) => panic!("a machine that cannot be"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn c2_cpus_and_memory_that_cannot_be_are_refused_with_the_limits() {
        for cpus in [0, crate::arch::MAX_CPUS + 1, 255] {
            let text = refused(|config| config.cpus = cpus);
            assert!(text.contains(&format!("1 to {}", crate::arch::MAX_CPUS)), "{text}");
        }
        for memory in [0, 1, MEMORY_MIN - MEMORY_STEP, MEMORY_MIN + 4096, MEMORY_MAX + MEMORY_STEP, 1 << 62, u64::MAX] {
            let text = refused(|config| config.memory_bytes = memory);
            assert!(text.contains("64 MiB to 256 GiB"), "{text}");
        }
    }

    #[test]
    fn the_balloon_is_offered_last_and_only_where_memory_can_be_given_back() {
        let offered = |give_back| {
            let (config, _place) = config(Vec::new());
            let (mut devices, _vsock) = devices(config.disks, None, None, &Trouble::default()).expect("devices");
            let log = in_process_devices(&mut devices, config.console, give_back);
            assert!(log.is_ok(), "a console");
            devices.iter().map(|device| device.name()).collect::<Vec<_>>()
        };
        let always = ["blk", "vsock", "rng", "console"];
        assert_eq!(offered(None), always);
        let last: &[&str] = if GiveBack::here().is_some() { &["balloon"] } else { &[] };
        assert_eq!(offered(GiveBack::here()), [&always, last].concat());
    }

    #[test]
    fn an_engine_of_another_system_is_refused_by_name() {
        let (mut config, _place) = config(Vec::new());
        config.engine = EngineKind::Hvf;
        config.disks.clear();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let error = runtime.block_on(async { Machine::start(config).map(|_| ()) }).expect_err("no HVF backend");
        assert!(matches!(error, StartError::Unusable(_)), "{error}");
    }
}
