//! What the user wants a machine to be: `config.toml` with the flags of `lighter start` on top, checked against this host.
//! Called by `cli::start`, which also writes the flags back (`save`), and by the daemon, which only reads.

use std::path::Path;

use lighter_vmm::EngineKind;
use serde::{Deserialize, Serialize};

use crate::net::HostAccess;
use crate::shares::spelling::HostKind;
use crate::sys::files;

/// Folders of this computer.
pub mod mounts;
mod parse;
/// Which proxies count.
pub mod proxy;
mod registries;
mod save;
/// URLs without their passwords.
pub mod url;
/// Proxies, registries and trust.
pub mod world;

pub use mounts::Mount;
pub use parse::{SettingsError, load};
pub use save::save;

use world::{World, WorldWishes};

/// One GiB in bytes.
pub const GIB: u64 = 1 << 30;
/// Least memory, in bytes, in which kernel, dockerd and containerd leave room for a container.
const LEAST_MEMORY: u64 = GIB / 2;
/// Largest disk: what ext4 with 4 KiB blocks and 32-bit block numbers can address.
const LARGEST_DISK: u64 = 16 << 40;

/// What was asked for; `None` where the user does not mind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wishes {
    /// Virtual CPUs.
    pub cpus: Option<i64>,
    /// Guest RAM in GiB.
    pub memory: Option<f64>,
    /// Size of the data disk in GiB.
    pub disk: Option<f64>,
    /// `auto` or an engine's name.
    pub engine: Option<Engine>,
    /// Whether `/_ping` and `/version` are answered while no machine runs, instead of starting one.
    pub answer_while_stopped: Option<bool>,
    /// Whether the guest has a network that leads out through the host.
    pub network: Option<bool>,
    /// Which services of the host containers may reach.
    pub host_access: Option<HostAccess>,
    /// Who reaches published ports for which no address was given.
    pub publish: Option<Publish>,
    /// Which folders of the host containers may see, each `PATH` or `PATH:w`.
    pub mounts: Option<Vec<String>>,
    /// Whether the guest sees large files of shared folders by this computer's own pages.
    pub map_files: Option<bool>,
    /// The network world that the user lives in; apart, because flags say nothing of it and are handed about a lot.
    #[serde(default)]
    pub world: Box<WorldWishes>,
}

impl Wishes {
    /// `self` where it says something, else `below`.
    pub fn over(&self, below: &Wishes) -> Wishes {
        Wishes {
            cpus: self.cpus.or(below.cpus),
            memory: self.memory.or(below.memory),
            disk: self.disk.or(below.disk),
            engine: self.engine.or(below.engine),
            answer_while_stopped: self.answer_while_stopped.or(below.answer_while_stopped),
            network: self.network.or(below.network),
            host_access: self.host_access.or(below.host_access),
            publish: self.publish.or(below.publish),
            mounts: self.mounts.as_ref().or(below.mounts.as_ref()).cloned(),
            map_files: self.map_files.or(below.map_files),
            world: Box::new(self.world.over(&below.world)),
        }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        *self == Wishes::default()
    }
}

/// Where a published port listens for which `docker run -p` names no address, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// On the host's loopback: only this host reaches it.
    Localhost,
    /// On all addresses of the host, as dockerd does it on a server.
    AsAsked,
}

impl Publish {
    /// Every name, as in `config.toml`.
    pub const NAMES: [(&'static str, Publish); 2] = [("localhost", Publish::Localhost), ("as-asked", Publish::AsAsked)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Publish::NAMES.iter().find(|(_, publish)| *publish == self).map_or("localhost", |(name, _)| name)
    }
}

/// Which engine the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The best one that works here.
    Auto,
    /// Linux KVM.
    Kvm,
    /// Windows Hypervisor Platform.
    Whp,
    /// macOS Hypervisor.framework.
    Hvf,
    /// QEMU as a software CPU.
    Software,
}

impl Engine {
    /// Every name, as in `config.toml` and `--engine`.
    pub const NAMES: [(&'static str, Engine); 5] = [
        ("auto", Engine::Auto),
        ("kvm", Engine::Kvm),
        ("whp", Engine::Whp),
        ("hvf", Engine::Hvf),
        ("software", Engine::Software),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Engine::NAMES.iter().find(|(_, engine)| *engine == self).map_or("auto", |(name, _)| name)
    }

    /// The one engine that was asked for; `None` for `auto`.
    pub fn kind(self) -> Option<EngineKind> {
        match self {
            Engine::Auto => None,
            Engine::Kvm => Some(EngineKind::Kvm),
            Engine::Whp => Some(EngineKind::Whp),
            Engine::Hvf => Some(EngineKind::Hvf),
            Engine::Software => Some(EngineKind::Software),
        }
    }
}

/// Settings that this host can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Virtual CPUs.
    pub cpus: u8,
    /// Guest RAM in bytes, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// Size of the data disk in bytes, if the user said one; else an existing disk stays as it is and a new one gets
    /// [`Settings::NEW_DISK`].
    pub disk_bytes: Option<u64>,
    /// Who shall run it.
    pub engine: Engine,
    /// Whether the guest has a network.
    pub network: bool,
    /// Which services of the host containers may reach.
    pub host_access: HostAccess,
    /// Who reaches published ports for which no address was given.
    pub publish: Publish,
    /// Which folders of the host containers may see; `None` for the user's home folder.
    pub mounts: Option<Vec<Mount>>,
    /// Whether the guest sees large files in them by this computer's own pages, where the engine can show it those.
    pub map_files: bool,
    /// The network world that the user lives in.
    pub world: World,
}

/// What this host has.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// RAM in bytes, total and available, if the system says.
    pub memory: Option<(u64, u64)>,
}

impl Host {
    /// This one.
    pub fn here() -> Host {
        Host { cpus: std::thread::available_parallelism().map_or(1, usize::from), memory: files::memory() }
    }
}

impl Settings {
    /// Size of a new data disk: a sparse file takes only what is written to it, and it can grow but never shrink.
    pub const NEW_DISK: u64 = 60 * GIB;

    /// Fills in defaults and checks every number. `config` is named in messages.
    ///
    /// Defaults: memory 2 GiB as Colima's; CPUs up to 4 where Colima has 2, because an idle virtual CPU costs nothing and
    /// builds use them.
    pub fn new(wishes: &Wishes, host: Host, config: &Path) -> Result<Settings, SettingsError> {
        let refuse = |key: &'static str, value: String, reason: String| SettingsError::Value {
            key,
            value,
            reason,
            config: config.to_owned(),
        };
        let cpus = wishes.cpus.unwrap_or(host.cpus.min(4) as i64);
        let cpus = match u8::try_from(cpus) {
            Ok(count) if count >= 1 && usize::from(count) <= host.cpus => count,
            _ => return Err(refuse("cpus", cpus.to_string(), format!("this host has {}, so use 1 to {0}", host.cpus))),
        };
        let memory = wishes.memory.unwrap_or(2.0);
        let total = host.memory.map_or(LARGEST_DISK, |(total, _)| total);
        let memory_bytes = match gib(memory) {
            Some(bytes) if (LEAST_MEMORY..=total).contains(&bytes) => bytes,
            _ => {
                let reason = format!("use 0.5 to {:.1} GiB, what this host has", total as f64 / GIB as f64);
                return Err(refuse("memory", memory.to_string(), reason));
            }
        };
        let disk_bytes = match wishes.disk {
            None => None,
            Some(disk) => match gib(disk) {
                Some(bytes) if (GIB..=LARGEST_DISK).contains(&bytes) => Some(bytes),
                _ => return Err(refuse("disk", disk.to_string(), "use 1 to 16384 GiB".to_owned())),
            },
        };
        let mounts = |list: &[String]| {
            let home = std::env::home_dir();
            let home = home.as_deref().and_then(Path::to_str);
            mounts::checked(list, HostKind::here(), home).map_err(|(value, reason)| refuse("mounts", value, reason))
        };
        Ok(Settings {
            cpus,
            memory_bytes,
            disk_bytes,
            engine: wishes.engine.unwrap_or(Engine::Auto),
            network: wishes.network.unwrap_or(true),
            host_access: wishes.host_access.unwrap_or(HostAccess::Unprivileged),
            publish: wishes.publish.unwrap_or(Publish::Localhost),
            mounts: wishes.mounts.as_deref().map(mounts).transpose()?,
            map_files: wishes.map_files.unwrap_or(false),
            world: World::new(&wishes.world, config)?,
        })
    }

    /// A warning if the host has less memory free than the guest may come to use.
    pub fn memory_warning(&self, host: Host) -> Option<String> {
        let (_, available) = host.memory.filter(|(_, available)| *available < self.memory_bytes)?;
        let [wanted, free] = [self.memory_bytes, available].map(|bytes| bytes as f64 / GIB as f64);
        Some(format!(
            "The machine may use {wanted:.1} GiB of memory but only {free:.1} GiB are free: give it less by `lighter start --memory N`, or by `memory` in config.toml"
        ))
    }
}

/// Bytes of so many GiB in whole 2 MiB pages; `None` for what is no size.
fn gib(number: f64) -> Option<u64> {
    let pages = number * 512.0;
    (pages.is_finite() && (0.0..=LARGEST_DISK as f64).contains(&pages)).then(|| (pages as u64).checked_mul(2 << 20))?
}
