//! The namespaces: `home`, where every stack has its sockets, and `out`, where the servers are, joined by a cable; and one for
//! each stack's guest. They are known to this process and its children only. Called by `inside`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Run;

/// The servers' address.
pub const SERVER: &str = "10.77.0.2";
/// The namespace of the stacks' sockets.
pub const HOME: &str = "home";
/// The namespace of the servers.
const OUT: &str = "out";

/// Makes `home` and `out`.
pub fn make() -> Result<()> {
    // Names of namespaces stand here; now nobody else sees ours.
    Run::new("mount").args(["-t", "tmpfs", "none", "/run"]).ok()?;
    for line in [
        format!("netns add {HOME}"),
        format!("netns add {OUT}"),
        format!("link add cable netns {HOME} type veth peer name cable netns {OUT}"),
        format!("-n {HOME} link set lo up"),
        format!("-n {OUT} link set lo up"),
        format!("-n {HOME} addr add 10.77.0.1/24 dev cable"),
        format!("-n {OUT} addr add {SERVER}/24 dev cable"),
        format!("-n {HOME} link set cable up"),
        format!("-n {OUT} link set cable up"),
        format!("-n {HOME} route add default via {SERVER}"),
    ] {
        ip(&line)?;
    }
    Ok(())
}

/// Makes a guest's namespace.
pub fn guest(name: &str) -> Result<()> {
    ip(&format!("netns add {name}"))?;
    ip(&format!("-n {name} link set lo up"))
}

/// Where a namespace can be opened.
pub fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Runs `ip`.
pub fn ip(line: &str) -> Result<()> {
    Run::new("ip").args(line.split(' ')).ok().map(drop)
}

/// Runs `work` where the servers are.
pub fn outside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    within(OUT, work)
}

/// Runs `work` in a namespace; sockets and threads that it makes stay there.
pub fn within<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(path(name))?;
    thread::scope(|scope| {
        let entered = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        entered.join().map_err(|_| anyhow!("a thread in {name} panicked"))?
    })
}
