//! What can be reached at all: the ports of the virtual addresses asked by a container (all of TCP, of UDP as many as `scan`
//! is told to), vsock from a container, and what of lighter other users and other computers find. Like those of `network`, these
//! cases run only with the daemon in a namespace that the rig made.

mod listening;
mod scan;

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use lighter_protocol::ports as vsock;

use super::{BUSYBOX, Case, Session, same};
use crate::rig::connect_proxy::PROXY;
use crate::rig::registries::PLAIN;
use crate::rig::servers::{FILES, LOOPBACK_ECHO, LOOPBACK_FILES, LOW_ECHO, LOW_FILES, OPEN_FILES, content_hash};
use crate::rig::world::{HOME_V6, HOST, HOST_AGAIN, REFUSE_EACH, SERVER, at_the_neighbours, guard};
use listening::{Listening, of_lighter};
pub(super) use scan::TCP;
use scan::{Allowed, Datagrams, Scan, UDP};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "reach_g14_every_port_asked_by_a_container", run: g14_from_a_container },
        Case { name: "reach_g14_every_port_asked_from_the_guests_own_network", run: g14_from_the_guest },
        Case { name: "reach_v16_no_container_opens_vsock_in_any_way", run: v16_vsock_in_three_ways },
        Case { name: "reach_lighter_listens_on_published_ports_alone", run: nothing_else_listens },
        Case { name: "reach_two_hundred_connections_at_once_by_hash", run: two_hundred },
    ]
}

/// Addresses of the network between guest and host.
const GATEWAY: &str = "192.168.127.1";
const GUEST: &str = "192.168.127.2";
const ALIAS: &str = "192.168.127.3";
const NOBODY: &str = "192.168.127.4";
const GATEWAY_V6: &str = "fd6c:6967:6874:6572::1";
const GUEST_V6: &str = "fd6c:6967:6874:6572::2";
const ALIAS_V6: &str = "fd6c:6967:6874:6572::3";
const NOBODY_V6: &str = "fd6c:6967:6874:6572::4";
/// The guest as containers on the default bridge see it.
const BRIDGE: &str = "172.17.0.1";
const METADATA: &str = "169.254.169.254";
/// The default for `docker.sock` over TCP, and what else tends to listen; for addresses that answer no port at all.
const FEW: &str = "1,22,53,80,111,443,1024,1025,1026,1027,2375,2376,5000,8080,9090,9191,9292,65535";

/// What the host offers by its alias: all that its loopback has from port 1024 on.
fn of_the_alias(alias: &str) -> Vec<Allowed> {
    let mut allowed: Vec<Allowed> =
        [LOOPBACK_FILES, OPEN_FILES, PLAIN, PROXY].iter().map(|&port| (TCP, alias.to_owned(), port)).collect();
    allowed.push((UDP, alias.to_owned(), LOOPBACK_ECHO));
    allowed
}

/// Names, and nothing else.
fn of_the_gateway(gateway: &str) -> Vec<Allowed> {
    [TCP, UDP].iter().map(|&protocol| (protocol, gateway.to_owned(), 53)).collect()
}

/// The scan's words: all ports of these, the ports of datagrams that must not be left to the sample, and [`FEW`].
fn targets(whole: &[&str], alias: &str, few: &[&str]) -> Vec<String> {
    let whole = whole.iter().map(|&address| address.to_owned());
    let named = format!("{alias}={LOW_ECHO},{LOOPBACK_ECHO}");
    whole.chain([named]).chain(few.iter().map(|address| format!("{address}={FEW}"))).collect()
}

fn g14_from_a_container(s: &Session) -> Result<()> {
    guard(s)?;
    let words = targets(&[GATEWAY, ALIAS, GUEST, BRIDGE], ALIAS, &[NOBODY, METADATA]);
    s.lighter(["shell", "sh", "-c", REFUSE_EACH]).ok()?;
    let found = Scan::in_a_container(s, &[], &words, Datagrams::Sample)?;
    // The guest asks for the hardware address of nobody's, and says only now and then that none came.
    found.must_be([of_the_gateway(GATEWAY), of_the_alias(ALIAS)].concat(), &[NOBODY])
}

fn g14_from_the_guest(s: &Session) -> Result<()> {
    guard(s)?;
    let words = targets(&[GATEWAY_V6, ALIAS_V6, GUEST_V6, "127.0.0.1"], ALIAS_V6, &[NOBODY_V6, NOBODY, METADATA]);
    s.lighter(["shell", "sh", "-c", REFUSE_EACH]).ok()?;
    let found = Scan::in_a_container(s, &["--network", "host"], &words, Datagrams::All)?;
    found.must_be([of_the_gateway(GATEWAY_V6), of_the_alias(ALIAS_V6)].concat(), &[NOBODY, NOBODY_V6])
}

/// The measuring client with these words in a container; what it says.
pub(super) fn meter(s: &Session, options: &[&str], words: &[String], seconds: u64) -> Result<String> {
    guard(s)?;
    let program = s.meter.display().to_string();
    s.docker(["create", "--name", "meter"]).args(options).args([BUSYBOX, "/data/meter"]).args(words).ok()?;
    s.out(&["cp", &program, "meter:/data/meter"])?;
    let said = s.docker(["start", "-a", "meter"]).within(s.seconds(seconds)).ok()?.text();
    s.out(&["rm", "-f", "meter"])?;
    Ok(said)
}

fn v16_vsock_in_three_ways(s: &Session) -> Result<()> {
    // Without the filter it is there, so what follows is not for want of a driver.
    let free = ["--security-opt", "seccomp=unconfined"];
    let bare = meter(s, &free, &["refused".to_owned(), "1".to_owned()], 60)?;
    same("vsock without a filter", bare, "1 refused".to_owned())?;
    let ports = [vsock::HELLO, vsock::CONTROL, vsock::DOCKER, vsock::PUBLISH].map(|port| port.to_string());
    let words: Vec<String> = ["ways".to_owned()].into_iter().chain(ports.clone()).collect();
    let said = meter(s, &[], &words, 300)?;
    let controls: Vec<&str> = said.lines().filter(|line| line.starts_with("control ")).collect();
    println!("    {}", controls.join(", "));
    ensure!(controls.contains(&"control socket connected"), "the plain way does not work at all: {said}");
    let tries: Vec<&str> = said.lines().filter(|line| line.starts_with("vsock ")).collect();
    same("tries of three ways, five context ids and these ports", tries.len(), 3 * 5 * ports.len())?;
    let connected: Vec<&&str> = tries.iter().filter(|line| line.ends_with(" connected")).collect();
    ensure!(connected.is_empty(), "a container has {connected:?}");
    Ok(())
}

fn nothing_else_listens(s: &Session) -> Result<()> {
    guard(s)?;
    same("listening with nothing published", of_lighter(s)?, Listening::default())?;
    seen_by_the_neighbour(s, &[])?;
    s.out(&["run", "-d", "--name", "web", "-p", "8080:80", "-p", "7000:7000/udp", BUSYBOX, "sleep", "600"])?;
    let mut want = Listening::default();
    for loopback in ["127.0.0.1", "::1"] {
        let ip: IpAddr = loopback.parse().context("an address")?;
        want.sockets.extend([(TCP, (ip, 8080).into()), (UDP, (ip, 7000).into())]);
    }
    same("listening with two ports published", of_lighter(s)?, want)?;
    seen_by_the_neighbour(s, &[])?;
    s.out(&["rm", "-f", "web"])?;
    same("listening when they are gone", of_lighter(s)?, Listening::default())?;
    for path in listening::paths(s)? {
        let said = listening::connect_as_nobody(path.clone());
        ensure!(said.is_err(), "another user is let in at {}", path.display());
    }
    Ok(())
}

/// From another computer each address of the host shows what the rig itself serves there and `published`, and nothing else.
pub(super) fn seen_by_the_neighbour(s: &Session, published: &[(&'static str, u16)]) -> Result<()> {
    let program = s.meter.clone();
    let addresses = [HOST, HOST_AGAIN, HOME_V6].map(str::to_owned);
    let asked = addresses.clone();
    let found = at_the_neighbours(move || Scan::by(&program, &asked))?;
    let of_the_rig = [HOST, HOST_AGAIN].into_iter().flat_map(|host| [OPEN_FILES, LOW_FILES].map(|port| (host, port)));
    let mut allowed: Vec<Allowed> = of_the_rig.map(|(host, port)| (TCP, host.to_owned(), port)).collect();
    allowed.extend(addresses.iter().flat_map(|host| published.iter().map(|&(way, port)| (way, host.clone(), port))));
    found.must_be(allowed, &[])
}

fn two_hundred(s: &Session) -> Result<()> {
    let (count, length) = (200, 250_000);
    let server = std::net::SocketAddr::from((SERVER.parse::<Ipv4Addr>()?, FILES));
    let words = ["fetch".to_owned(), server.to_string(), format!("/{length}"), count.to_string()];
    let said = meter(s, &[], &words, 300)?;
    same("times and hash of what came", said, format!("{count} {}", content_hash(length)))
}
