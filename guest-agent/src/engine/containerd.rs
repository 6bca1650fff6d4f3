//! How containerd is started: only the plugins that dockerd uses, state in memory, data on the data disk. Called by `engine`.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::supervise;
use crate::paths;

/// Until its socket is there.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// For its own end, after the containers are gone.
pub const OWN_END: Duration = Duration::from_secs(5);

/// dockerd keeps images and layers itself (overlay2), so snapshotters but one, image services and CRI would only cost time.
const CONFIG: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.native",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "/run/containerd/containerd.sock"

[ttrpc]
address = ""

[debug]
level = "info"
"#;

/// Writes the configuration.
pub fn write_config() -> io::Result<()> {
    fs::write(paths::CONTAINERD_CONFIG, CONFIG)
}

/// The command.
pub fn command() -> Command {
    // A socket of the run before would be taken for this one's.
    let _none_there = fs::remove_file(paths::CONTAINERD_SOCKET);
    let mut command = supervise::program("containerd");
    command.args(["--config", paths::CONTAINERD_CONFIG]);
    command
}
