//! The guest's PID 1: it boots what the virtual machine needs, keeps the container engine running, and joins the host's
//! connections to it. In the order of a boot:

/// The boot in order.
pub mod boot;
/// Errors and panics that end the machine.
pub mod fatal;
/// The agent's log.
pub mod log;
/// Guest paths that only the agent knows.
pub mod paths;

/// The cgroup v2 tree.
pub mod cgroup;
/// Wall clock and uptime.
pub mod clock;
/// The data disk: what it holds, formatting, repair.
pub mod data_disk;
/// Disks by serial number.
pub mod disks;
/// What happens in them, done once more.
pub mod echo;
/// The host's folders.
pub mod folders;
/// The event channel to the host.
pub mod host;
/// What is mounted where.
pub mod mounts;
/// The guest's interfaces and how names are found.
pub mod network;
/// Requests to the kernel about interfaces.
pub mod rtnetlink;
/// Sysctls and limits.
pub mod settings;

/// containerd and dockerd.
pub mod engine;
/// Bounded log files.
pub mod log_file;
/// Starting and collecting processes.
pub mod reaper;

/// Connections of the host.
pub mod accept;
/// Requests of the host.
pub mod control;
/// Protocol frames on sockets.
pub mod frames;
/// Waiting with deadlines.
pub mod ready;
/// Two sockets joined.
pub mod relay;

/// dockerd's program for one published port.
pub mod docker_proxy;
/// Published ports, passed on to the host.
pub mod publish;

/// The clean end.
pub mod shutdown;
/// Calls without a safe form elsewhere.
pub mod sys;

/// What a running guest consists of, as the requests of the host need it.
pub struct Guest {
    /// The event channel.
    pub host: host::Host,
    /// Starts processes.
    pub reaper: reaper::Reaper,
    /// dockerd and containerd.
    pub engine: engine::Engine,
}
