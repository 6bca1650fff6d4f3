//! The agent's own files in the guest. What the host must know too is in `lighter_protocol::paths`.

/// Folder of the logs, in memory.
pub const LOGS: &str = "/run/log";
/// The agent's log.
pub const AGENT_LOG: &str = "/run/log/agent.log";
/// dockerd's output.
pub const DOCKERD_LOG: &str = "/run/log/dockerd.log";
/// containerd's output.
pub const CONTAINERD_LOG: &str = "/run/log/containerd.log";
/// containerd's socket.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// containerd's configuration, written at each boot.
pub const CONTAINERD_CONFIG: &str = "/run/containerd/config.toml";
/// On the data disk: the demo image has been loaded once, and may have been removed since.
pub const DEMO_MARK: &str = "/data/lighter/demo-loaded";
/// Where the host's folders come from, each under the name that the host gave it; open to root only.
pub const FOLDERS: &str = "/run/lighter/folders";
/// What dockerd runs for each published port: a link to the agent, which tells by that name what it is to be.
pub const DOCKER_PROXY: &str = "/run/lighter/docker-proxy";
/// Where that program asks the agent.
pub const PUBLISH_SOCKET: &str = "/run/lighter/publish.sock";
/// Where programs are looked for.
pub const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where links in the read-only `/etc` point to.
pub const ETC: &str = "/run/lighter";
