//! A made-up world for the network cases: one network namespace in which lighter runs, and a neighbouring one with servers,
//! joined by a cable of their own. Whatever a guest sends ends there; nothing leads to this host's own networks. Needs root.
//!
//! ```text
//! home: lighter ── 1500 ── out: servers, registries ── 1280 ── (out) ── 1500 ── far: a few servers
//! ```

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::servers;
use crate::docker::Session;
use crate::process::Run;

/// The servers' address.
pub const SERVER: &str = "10.77.0.2";
/// And over IPv6.
pub const SERVER_V6: &str = "fd77::2";
/// The address of the host that lighter runs on.
pub const HOST: &str = "10.77.0.1";
/// Another address of the same host on the same network, which it never speaks from by itself.
pub const HOST_AGAIN: &str = "10.77.0.3";
/// And over IPv6.
pub const HOME_V6: &str = "fd77::1";
/// An address from which nothing ever comes back.
pub const BLACK_HOLE: &str = "10.79.0.1";
/// An address behind the neighbour: the way there takes packets of [`NARROW`] bytes, which neither end can know beforehand.
pub const FAR: &str = "10.80.0.2";
const NARROW: u16 = 1280;
/// A network that this host cannot reach, and knows it.
pub const UNREACHABLE: &str = "10.78.0.1";

/// A shell's line by which a kernel refuses each datagram to a closed port, and not only some in a second: a scan learns of more
/// ports in less time. What an older kernel has for all namespaces at once stays as it is.
pub const REFUSE_EACH: &str = "cd /proc/sys/net; echo 0 > ipv4/icmp_ratelimit; echo 0 > ipv6/icmp/ratelimit; \
    for each in icmp_msgs_per_sec icmp_msgs_burst; do [ ! -w ipv4/$each ] || echo 1000000 > ipv4/$each; done";

/// Three namespaces and what serves in them. They go when this is dropped.
pub struct World {
    /// Where lighter runs.
    home: String,
    /// Where the servers are.
    out: String,
    /// What is behind them.
    far: String,
}

impl World {
    /// Makes the namespaces and starts the servers.
    pub fn make() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces are made by root only");
        let world = Self { home: home(), out: out(), far: far() };
        world.wire().context("make the namespaces")?;
        world.name_files().context("write the namespace's name files")?;
        within(&world.out, servers::of_the_world)?;
        within(&world.home, servers::of_the_host)?;
        within(&world.far, servers::of_the_far_end)?;
        Ok(world)
    }

    fn wire(&self) -> Result<()> {
        let Self { home, out, far } = self;
        for line in [
            format!("netns add {home}"),
            format!("netns add {out}"),
            format!("link add cable netns {home} type veth peer name cable netns {out}"),
            format!("-n {home} link set lo up"),
            format!("-n {out} link set lo up"),
            format!("-n {home} addr add {HOST}/24 dev cable"),
            format!("-n {home} addr add {HOST_AGAIN}/24 dev cable"),
            format!("-n {out} addr add {SERVER}/24 dev cable"),
            format!("-n {home} addr add {HOME_V6}/64 dev cable nodad"),
            format!("-n {out} addr add {SERVER_V6}/64 dev cable nodad"),
            format!("-n {home} link set cable up"),
            format!("-n {out} link set cable up"),
            format!("-n {home} route add default via {SERVER}"),
            format!("-n {home} route add unreachable {UNREACHABLE}/32"),
            // For the neighbour it is an address of its own.
            format!("-n {out} addr add {UNREACHABLE}/32 dev lo"),
            format!("netns add {far}"),
            format!("-n {far} link set lo up"),
            format!("link add far netns {out} type veth peer name far netns {far}"),
            format!("-n {out} addr add 10.80.0.1/24 dev far"),
            format!("-n {far} addr add {FAR}/24 dev far"),
            format!("-n {out} link set far up"),
            format!("-n {far} link set far up"),
            format!("-n {far} route add default via 10.80.0.1"),
            // Both cables take 1500, so only the neighbour knows, and says so to whoever sends more.
            format!("-n {out} route add {FAR}/32 dev far mtu lock {NARROW}"),
            format!("-n {out} route add {HOST}/32 dev cable mtu lock {NARROW} table 80"),
            format!("-n {out} rule add from 10.80.0.0/24 lookup 80"),
            // What nobody knows vanishes, although the neighbour passes on now.
            format!("-n {out} route add blackhole default"),
        ] {
            ip(&line)?;
        }
        Run::new("ip").args(["netns", "exec", out, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).ok()?;
        Run::new("ip").args(["netns", "exec", home, "sh", "-c", REFUSE_EACH]).ok()?;
        // As on distributions of today.
        let range = "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range";
        Run::new("ip").args(["netns", "exec", home, "sh", "-c", range]).ok().map(drop)
    }

    /// What `ip netns exec` puts in the place of the host's own files.
    fn name_files(&self) -> Result<()> {
        let folder = self.files();
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("resolv.conf"), format!("nameserver {SERVER}\nsearch world.test\n"))?;
        std::fs::write(folder.join("hosts"), format!("127.0.0.1 localhost app.test\n{SERVER} neighbour\n"))?;
        Ok(())
    }

    fn files(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.home)
    }

    /// A program that runs beside the servers.
    pub fn outside(&self, program: &Path) -> Run {
        Run::new("ip").args(["netns", "exec", &self.out]).args([program])
    }

    /// A program in `dir` that runs `lighter` in the namespace.
    pub fn lighter(&self, dir: &Path, lighter: &Path) -> Result<PathBuf> {
        let path = dir.join("lighter-in-namespace");
        std::fs::write(&path, format!("#!/bin/sh\nexec ip netns exec {} '{}' \"$@\"\n", self.home, lighter.display()))?;
        Run::new("chmod").args(["755"]).args([&path]).ok()?;
        Ok(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in [&self.home, &self.out, &self.far] {
            drop(ip(&format!("netns del {name}")));
        }
        drop(std::fs::remove_dir_all(self.files()));
        // Goes only if it is empty.
        drop(std::fs::remove_dir("/etc/netns"));
    }
}

/// Unplugs or plugs the cable of the namespace that lighter runs in.
pub fn plug(choice: bool) -> Result<()> {
    let home = home();
    if !choice {
        return ip(&format!("-n {home} link set cable down"));
    }
    ip(&format!("-n {home} link set cable up"))?;
    // These went with it.
    ip(&format!("-n {home} route replace default via {SERVER}"))?;
    ip(&format!("-n {home} addr replace {HOME_V6}/64 dev cable nodad"))
}

/// The namespaces' names; other runs of this program on the same host have others.
fn home() -> String {
    format!("lt-home-{}", std::process::id())
}

/// Where `ip` keeps a namespace.
fn namespace(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn out() -> String {
    format!("lt-out-{}", std::process::id())
}

fn far() -> String {
    format!("lt-far-{}", std::process::id())
}

/// Fails unless the session's daemon runs in the namespace that this rig made for it, so that nothing that its guest sends can
/// leave this machine. Every case that scans, floods or sends odd packets asks this first.
pub fn guard(s: &Session) -> Result<()> {
    is_within(daemon(s)?, &namespace(&home()))
}

/// Any other namespace than the one whose only cable we know may lead anywhere, so it is not enough that it is not the host's.
fn is_within(process: u64, namespace: &Path) -> Result<()> {
    let cure = "only a namespace that the rig made is closed, so run it by `cargo xtask test network`";
    // A file of the kernel's, the same one for all who are in there.
    let place = |path: &Path| std::fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    let theirs = place(Path::new(&format!("/proc/{process}/ns/net"))).context("the daemon's network namespace")?;
    let made =
        place(namespace).with_context(|| format!("this rig made no namespace {}: {cure}", namespace.display()))?;
    ensure!(theirs == made, "the daemon is not in {}: this case could reach the outside; {cure}", namespace.display());
    ensure!(theirs != place(Path::new("/proc/self/ns/net"))?, "{} is the host's own network", namespace.display());
    Ok(())
}

/// The daemon's process.
pub fn daemon(s: &Session) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_slice(&s.lighter(["status", "--json"]).ok()?.stdout)?;
    status["pid"].as_u64().context("the daemon does not run")
}

fn ip(line: &str) -> Result<()> {
    Run::new("ip").args(line.split(' ')).ok().map(drop)
}

/// Runs a client in the namespace of the host.
pub fn at_home<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    within(&home(), work)
}

/// Runs a client in the namespace of the neighbour.
pub fn at_the_neighbours<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    within(&out(), work)
}

/// A program in the namespace of the host.
pub fn program_at_home(program: &str) -> Run {
    Run::new("ip").args(["netns", "exec", &home(), program])
}

/// Runs `work` in a namespace; sockets that it makes stay there.
fn within<T: Send + 'static>(name: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let namespace = File::open(namespace(name))?;
    let entered = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    });
    entered.join().map_err(|_| anyhow!("what ran in {name} panicked"))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::docker::{network, reach};

    #[test]
    fn only_the_namespace_that_was_made_is_good_enough() {
        let refusal =
            |namespace: &str| is_within(std::process::id().into(), Path::new(namespace)).unwrap_err().to_string();
        // Another one than the rig's: here a namespace of another kind stands for it.
        assert!(refusal("/proc/self/ns/uts").contains("could reach the outside"));
        assert!(refusal("/proc/self/ns/net").contains("the host's own network"));
        assert!(refusal("/run/netns/lt-home-nobodys").contains("made no namespace"));
    }

    /// A session whose daemon is this very process, in the host's network, and whose docker only says that it was called.
    fn outside(dir: &Path) -> Session {
        let script = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path
        };
        let status = format!("[ \"$1\" = status ] && echo '{{\"pid\": {}}}' || touch called", std::process::id());
        let lighter = script("lighter", status);
        let docker = script("docker", "touch called".to_owned());
        let (busybox, conformance, meter, cache) = (docker.clone(), docker.clone(), docker.clone(), dir.to_owned());
        let (engine, cpus, patience, words) = ("software", "1", 1, Vec::new());
        let dir = dir.to_owned();
        Session { docker, lighter, dir, busybox, conformance, meter, cache, engine, cpus, patience, words }
    }

    #[test]
    fn no_case_of_the_network_does_anything_for_a_daemon_in_the_hosts_own_network() {
        let dir = tempfile::tempdir().unwrap();
        let session = outside(dir.path());
        for case in network::cases().into_iter().chain(reach::cases()) {
            let refusal = (case.run)(&session).unwrap_err();
            assert!(format!("{refusal:#}").contains("made no namespace"), "{}: {refusal:#}", case.name);
            assert!(!dir.path().join("called").exists(), "{} called a program before it asked", case.name);
        }
    }
}
