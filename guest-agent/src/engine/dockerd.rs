//! How dockerd is started, and when it is ready. It listens on one socket in memory and on no IP address. Called by `engine`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lighter_protocol::paths::DOCKER_SOCKET;

use super::{api, connect, supervise, world::World};
use crate::{paths, sys};

/// Until it answers. A first start after a hard stop repairs its databases.
const PATIENCE: Duration = Duration::from_secs(180);
/// For its own end, after the containers are gone.
pub const OWN_END: Duration = Duration::from_secs(10);

/// As `--ip-masq=false` for the default bridge, for every other bridge network.
const UNMASKED: &str = "--default-network-opt=bridge=com.docker.network.bridge.enable_ip_masquerade=false";

/// The command. No `--live-restore`: dockerd refuses Swarm with it and would leave containers running at shutdown.
pub fn command(world: &World) -> Command {
    for stale in [DOCKER_SOCKET, "/run/docker.pid"] {
        let _none_there = fs::remove_file(stale);
    }
    let mut command = supervise::program("dockerd");
    command.arg(format!("--host=unix://{DOCKER_SOCKET}"));
    command.arg(format!("--containerd={}", paths::CONTAINERD_SOCKET));
    command.args(["--data-root=/var/lib/docker", "--exec-root=/run/docker", "--pidfile=/run/docker.pid"]);
    command.args(["--storage-driver=overlay2", "--group=0"]);
    // Ours asks the host to listen; dockerd starts one for each published port.
    command.args(["--userland-proxy=true", &format!("--userland-proxy-path={}", paths::DOCKER_PROXY)]);
    // The host translates addresses, once, and shares its tables fairly between containers: it has to see who is who.
    command.args(["--ip-masq=false", UNMASKED]);
    // The agent's own deadline is the host's choice and comes after this one.
    command.arg("--shutdown-timeout=600");
    // Its start makes much garbage and keeps little: fewer collections save a third of the time, and it gives back later.
    command.env("GOGC", "400");
    world.dress(&mut command);
    if emulated_cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()) {
        sys::personality::without_randomisation(&mut command);
    }
    command
}

/// QEMU translates code by virtual address. dockerd runs `iptables` some sixty times before it answers; at the same
/// addresses each run finds the translations of the one before and takes a third of the time. Containers are not
/// dockerd's children, so theirs stay random.
fn emulated_cpu(cpuinfo: &str) -> bool {
    cpuinfo.lines().any(|line| line.starts_with("model name") && line.contains("QEMU TCG"))
}

/// Waits until dockerd answers `GET /_ping`; its version. An error if it ends before, or takes too long.
pub fn answers(ended: &OwnedFd) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let socket = connect::connects(Path::new(DOCKER_SOCKET), ended, deadline)?;
    // The socket is there before the API: the answer comes when the engine is up.
    let answer = api::request(&socket, api::Request::get("/_ping"), |socket, flags| {
        connect::while_alive(socket, flags, ended, deadline)
    })?;
    // `Server: Docker/26.1.5 (linux)`
    let server = answer.header("server").unwrap_or_default();
    let version = server.strip_prefix("Docker/").and_then(|rest| rest.split_whitespace().next());
    Ok(version.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::emulated_cpu;

    #[test]
    fn only_the_software_engines_cpu_is_an_emulated_one() {
        assert!(emulated_cpu("processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\n"));
        assert!(!emulated_cpu("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n"));
        assert!(!emulated_cpu(""));
    }
}
