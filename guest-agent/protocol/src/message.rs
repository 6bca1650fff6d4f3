//! Messages of the control channel, as JSON objects. Unknown fields are ignored so that a newer peer may say more; unknown
//! kinds are an error. Each side treats every field of the other as hostile.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::engine::EngineSettings;

/// Version of this conversation. Host and agent come from one image, so a difference is an error that names both.
pub const VERSION: u32 = 1;

/// The agent's first frame on [`crate::ports::HELLO`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// The 256-bit boot secret, 64 lower-case hex digits.
    pub secret: String,
}

/// The host's answer to [`Hello`]: what the agent needs to go on booting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// [`VERSION`] of the host.
    pub version: u32,
    /// Wall clock, seconds since 1970 UTC.
    pub unix_seconds: u64,
    /// And nanoseconds.
    pub unix_nanos: u32,
    /// The guest's host name.
    pub hostname: String,
    /// The host looked and its file for the data disk holds no data at all (only holes). The agent formats a disk only when
    /// every byte is known to be zero; without this word it has to read the whole disk to know.
    #[serde(default)]
    pub data_disk_blank: bool,
    /// How the guest's network interface is to be set up; `None` where there is no network.
    #[serde(default)]
    pub network: Option<Network>,
    /// How dockerd is to be set up.
    #[serde(default)]
    pub engine: EngineSettings,
    /// Folders of the host, in the order in which they are to be mounted.
    #[serde(default)]
    pub folders: Vec<SharedFolder>,
}

/// A folder of the host that the guest mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFolder {
    /// Its name in the root of the file system with the tag [`crate::paths::FOLDERS_TAG`].
    pub name: String,
    /// Where the guest is to see it: an absolute path without `.` and `..`.
    pub at: String,
    /// Whether it may be written to. The host holds to that by itself, too.
    pub writable: bool,
}

/// The guest's one network interface. The agent sets all of it itself, so no machine waits for DHCP or for router
/// advertisements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The interface's hardware address, by which the agent finds it: six pairs of lower-case hex digits with colons.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Its addresses, with the length of each network's prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where everything else is reached; at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Name servers in order.
    pub name_servers: Vec<IpAddr>,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
}

/// Something happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A stage of the boot was reached.
    Stage {
        /// `pid1`, `hello`, `root`, `data`, `containerd`, `dockerd`, `demo`.
        name: String,
        /// Guest uptime in milliseconds (CLOCK_BOOTTIME).
        uptime_ms: u64,
    },
    /// Something that has to be done may take very long, such as the check of a large disk. Sent when it begins and every few
    /// seconds as long as it goes on, so that the host's patience is measured by life and not by the clock.
    Busy {
        /// What is being done: `check`.
        doing: String,
    },
    /// dockerd answers on its socket; sent again after each restart of the engine.
    Ready {
        /// dockerd's version.
        engine_version: String,
        /// Guest uptime in milliseconds.
        uptime_ms: u64,
    },
    /// dockerd or containerd ended and is being restarted.
    EngineDown {
        /// Which one, how it ended, last lines of its log.
        reason: String,
    },
    /// The guest cannot become usable; the host shows the reason and stops the machine.
    Failed {
        /// The stage that failed.
        stage: String,
        /// Cause and cure, for a person.
        reason: String,
    },
    /// Everything is flushed and unmounted; the machine resets right after.
    Stopped,
}

/// What the host asks on [`crate::ports::CONTROL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Versions, uptime, disk and memory use.
    Info,
    /// Run a program in the guest's own namespace.
    Shell(Shell),
    /// Stream a log.
    Logs {
        /// Which one.
        source: LogSource,
        /// Go on with new lines until the host closes.
        follow: bool,
        /// Only the last so many lines; all when `None`.
        tail: Option<u32>,
    },
    /// Set the wall clock, unless it is right to half a second.
    SetTime {
        /// Seconds since 1970 UTC.
        unix_seconds: u64,
        /// And nanoseconds.
        unix_nanos: u32,
    },
    /// Make events of what happens in shared folders: after [`Reply::Herald`] the connection goes on as
    /// [`crate::raise`] says.
    Herald,
    /// Stop containers and engine, flush, unmount, reset.
    Shutdown {
        /// How long containers may take to end before they are killed.
        grace_seconds: u32,
    },
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// Program and arguments; empty means a login shell.
    pub command: Vec<String>,
    /// Run it on a terminal of this many columns and rows; without one, stdout and stderr are separate.
    pub tty: Option<(u16, u16)>,
    /// Extra environment, for example `TERM`.
    pub env: Vec<(String, String)>,
}

/// Which log to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// dockerd's output.
    Dockerd,
    /// containerd's output.
    Containerd,
    /// The agent's own log.
    Agent,
    /// The kernel's ring buffer.
    Kernel,
}

/// The agent's answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// Answer to [`Request::Info`].
    Info(GuestInfo),
    /// The connection goes on with stream frames.
    Stream,
    /// Answer to [`Request::Herald`].
    Herald {
        /// The thread that will do it, by its number in the guest.
        thread: u32,
    },
    /// It did not work; the message names cause and cure.
    Error {
        /// For a person.
        message: String,
    },
}

/// What the guest knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInfo {
    /// `uname -r`.
    pub kernel: String,
    /// dockerd's version, empty until it is ready.
    pub engine: String,
    /// The agent's version.
    pub agent: String,
    /// Seconds since boot.
    pub uptime_seconds: u64,
    /// RAM in bytes: total and available (`MemAvailable`).
    pub memory_total: u64,
    /// See `memory_total`.
    pub memory_available: u64,
    /// Data disk in bytes: size of the file system and what is free.
    pub disk_total: u64,
    /// See `disk_total`.
    pub disk_free: u64,
}
