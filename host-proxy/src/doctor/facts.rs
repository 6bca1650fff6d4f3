//! Everything that the checks of `doctor` look at, as plain data: `gather` fills it from this machine, tests by hand. `None`
//! is what could not be found out, and no check complains about that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::context::socket::Holder;
use crate::control::{Phase, Status};
use crate::settings::Engine;

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The profile that is asked about.
    pub profile: ProfileFacts,
    /// Its daemon and its machine.
    pub machine: MachineFacts,
    /// The docker CLI and what belongs to it.
    pub tools: Tools,
    /// The docker CLI's settings.
    pub docker: DockerSettings,
    /// Environment variables that docker tools read, only those that are set.
    pub environment: BTreeMap<String, String>,
    /// What else leads a client to an engine.
    pub ways: Ways,
    /// The engines that were found, ours among them.
    pub engines: Vec<FoundEngine>,
    /// This computer.
    pub host: HostFacts,
    /// The data disk.
    pub disk: DiskFacts,
    /// The network world that the user lives in.
    pub world: WorldFacts,
}

/// Whether somebody answers at an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Alive {
    /// Somebody listens.
    Yes,
    /// Nobody does.
    No,
    /// It may not be asked, or is on another computer.
    #[default]
    Unknown,
}

/// The profile.
#[derive(Debug, Clone, Default)]
pub struct ProfileFacts {
    /// Its name.
    pub name: String,
    /// Its docker context's name.
    pub context: String,
    /// Its endpoint.
    pub docker_host: String,
    /// Its directory.
    pub dir: PathBuf,
    /// It was started at least once.
    pub exists: bool,
    /// Whether the endpoint lies in a short directory because the profile's path has no room for it.
    pub short: bool,
    /// Why its directories cannot be used.
    pub unusable: Option<String>,
    /// The kind of file system that they are on.
    pub file_system: Option<String>,
    /// What is wrong with `config.toml`.
    pub settings_error: Option<String>,
    /// The engine that is wished for.
    pub engine: Option<Engine>,
    /// Memory that the next start takes, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Daemon and machine.
#[derive(Debug, Clone, Default)]
pub struct MachineFacts {
    /// What the daemon says.
    pub status: Option<Status>,
    /// The daemon is there and does not answer, and its process, if known.
    pub silent: Option<Option<u32>>,
    /// Its program's file has been replaced since it started.
    pub program_replaced: Option<bool>,
    /// Processes that are daemons of this profile.
    pub daemons: Vec<u32>,
    /// Files of a daemon that is not there any more.
    pub left_over: Vec<PathBuf>,
    /// The endpoint's file is there.
    pub socket_exists: bool,
    /// What `GET /_ping` says while the machine runs.
    pub ping: Option<Result<Ping, String>>,
    /// The last `Kernel panic` in the console's log.
    pub panic: Option<String>,
}

impl MachineFacts {
    /// Whether the guest runs and can be asked.
    pub fn runs(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.state == Phase::Running)
    }
}

/// An answered ping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    /// Seconds that the guest's clock is ahead of the host's; negative if it is behind.
    pub ahead: Option<i64>,
}

/// A program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// Its file, at the end of links.
    pub path: PathBuf,
    /// The first line that it prints when asked for its version.
    pub version: String,
}

/// The docker CLI, its plugins and credential helpers.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// `docker`.
    pub docker: Option<Program>,
    /// `docker compose`.
    pub compose: Plugin,
    /// `docker buildx`.
    pub buildx: Plugin,
    /// Credential helpers that `config.json` names and that do not exist.
    pub missing_helpers: Vec<String>,
    /// The builder that buildx uses instead of the context's own, and where it is.
    pub builder: Option<(String, String)>,
    /// The first package manager in PATH: `apt-get`, `dnf`, `brew`, ….
    pub packager: Option<String>,
    /// What apt can install of docker's parts, asked only when one is missing.
    pub apt_offers: BTreeSet<String>,
}

/// One plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugin {
    /// The file that works.
    pub found: Option<PathBuf>,
    /// Links that lead nowhere, and files that cannot be run.
    pub broken: Vec<PathBuf>,
}

/// The docker CLI's configuration directory.
#[derive(Debug, Clone, Default)]
pub struct DockerSettings {
    /// Where it is.
    pub dir: PathBuf,
    /// It exists and may not be written to.
    pub read_only: bool,
    /// What is wrong with `config.json`.
    pub invalid: Option<String>,
    /// The current context.
    pub current: String,
    /// All contexts: name and endpoint.
    pub contexts: Vec<(String, String)>,
    /// Proxies that containers get, by name of the setting.
    pub proxies: BTreeMap<String, String>,
}

impl DockerSettings {
    /// Where the context `name` leads.
    pub fn context(&self, name: &str) -> Option<&str> {
        self.contexts.iter().find(|(known, _)| known == name).map(|(_, host)| host.as_str())
    }
}

/// What leads clients to an engine that do not ask the docker CLI's settings.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// The endpoint that every client knows, as a URL.
    pub standard: String,
    /// The file of that endpoint, where it can be claimed, and who has it.
    pub socket: Option<(PathBuf, Holder)>,

    /// `~/.testcontainers.properties`: `tc.host` and `docker.host`.
    pub testcontainers: BTreeMap<String, String>,
    /// Endpoints that were asked whether somebody listens.
    pub alive: BTreeMap<String, Alive>,
}

/// An engine on this computer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundEngine {
    /// Its name.
    pub name: String,
    /// Its endpoint.
    pub endpoint: String,
    /// Whether it listens.
    pub alive: Alive,
}

/// This computer.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// What may run the guest, best first: the engine's name, and why it cannot.
    pub engines: Vec<EngineFacts>,
    /// Kernel modules of other hypervisors that are loaded.
    pub other_hypervisors: Vec<String>,
    /// Memory in bytes: total and available.
    pub memory: Option<(u64, u64)>,
    /// Open files: how many one may have when it asks for more.
    pub open_files: Option<u64>,
    /// inotify watches and instances.
    pub inotify: Option<(u64, u64)>,
    /// Linux inside Windows.
    pub wsl: bool,
    /// The guest image: versions by name, or what is wrong.
    pub image: Option<Result<BTreeMap<String, String>, String>>,
    /// The folder of the guest image that the next start boots.
    pub image_folder: Option<PathBuf>,
}

/// Proxies and trust, as the next machine that this shell starts will have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorldFacts {
    /// Whether the machine has a network.
    pub network: bool,
    /// The proxies in force.
    pub proxies: Vec<ProxyFacts>,
    /// Variables that are no proxies: `http`, …, and what is wrong.
    pub bad_variables: Vec<(String, String)>,
    /// What is wrong with the files of certificates.
    pub certificates_error: Option<String>,
    /// This computer has no root certificates.
    pub no_native_certificates: bool,
}

/// A proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyFacts {
    /// Its URL without a login.
    pub shown: String,
    /// It is on this computer's loopback, on a port that `host_access` closes to the machine.
    pub closed: bool,
    /// Why it does not answer.
    pub silent: Option<String>,
}

/// An engine that may run the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// `kvm`, `software`, ….
    pub name: String,
    /// Why it cannot be used, and what helps.
    pub unusable: Option<(String, String)>,
}

/// The data disk; sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// Its file.
    pub path: PathBuf,
    /// How large it may get.
    pub limit: Option<u64>,
    /// What it takes on the host now.
    pub allocated: Option<u64>,
    /// What is free where it is.
    pub free: Option<u64>,
    /// Size and use of the guest's file system, while the machine runs.
    pub guest: Option<(u64, u64)>,
}

impl DiskFacts {
    /// Bytes that the file takes and the guest does not use, as far as both are known.
    pub fn reclaimable(&self) -> Option<u64> {
        Some(self.allocated?.saturating_sub(self.guest?.1))
    }
}

impl Facts {
    /// An environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// Whether somebody listens at `endpoint`; never asked of our own, because that might wake the machine.
    pub fn alive(&self, endpoint: &str) -> Alive {
        self.ways.alive.get(endpoint).copied().unwrap_or_default()
    }

    /// Whether `endpoint` leads to this profile.
    pub fn is_ours(&self, endpoint: &str) -> bool {
        endpoint == self.profile.docker_host || endpoint == self.ways.standard && self.socket_is_ours()
    }

    fn socket_is_ours(&self) -> bool {
        matches!(self.ways.socket, Some((_, Holder::Us)))
    }

    /// ` -p NAME` for commands about another profile than the default one.
    pub fn flag(&self) -> String {
        match self.profile.name.as_str() {
            "default" | "" => String::new(),
            name => format!(" -p {name}"),
        }
    }

    /// The home that the profile is in.
    pub fn home(&self) -> &Path {
        self.profile.dir.parent().unwrap_or(&self.profile.dir)
    }
}
