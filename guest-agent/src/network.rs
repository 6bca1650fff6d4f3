//! The guest's interfaces: loopback, and the one that leads to the host, set up as the host says. dockerd makes the others.
//! Also the files by which names are found. Called by `boot`.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use lighter_protocol::Network;

use crate::paths;
use crate::rtnetlink::Rtnetlink;

/// The kernel gives the loopback interface number 1 in every network namespace.
const LOOPBACK: u32 = 1;
const INTERFACES: &str = "/sys/class/net";

/// Sets the loopback interface up.
pub fn loopback_up() -> io::Result<()> {
    Rtnetlink::open()?.up(LOOPBACK, None)
}

/// Sets the interface to the host up: MTU, addresses, routes. What fails for one version of IP costs the other nothing; the
/// first error is returned when everything has been tried.
pub fn interface_up(network: &Network) -> io::Result<()> {
    let index = index_of(Path::new(INTERFACES), &network.mac)?;
    let kernel = Rtnetlink::open()?;
    kernel.up(index, Some(network.mtu))?;
    let steps = steps(network).into_iter().map(|step| match step {
        Step::Address(address, prefix) => kernel.address(index, address, prefix),
        Step::Route(gateway) => kernel.default_route(index, gateway),
    });
    first_error(steps)
}

/// One request about an interface that is up.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Address(IpAddr, u8),
    Route(IpAddr),
}

/// All of IPv4 before anything of IPv6, which a kernel may lack or refuse; each version's route after its addresses.
fn steps(network: &Network) -> Vec<Step> {
    let of_version = |four: bool| {
        let addresses = network.addresses.iter().filter(move |(address, _)| address.is_ipv4() == four);
        let gateways = network.gateways.iter().filter(move |gateway| gateway.is_ipv4() == four);
        addresses
            .map(|&(address, prefix)| Step::Address(address, prefix))
            .chain(gateways.map(|&gateway| Step::Route(gateway)))
    };
    of_version(true).chain(of_version(false)).collect()
}

/// Tries everything; the first error of all.
fn first_error(outcomes: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    outcomes.fold(Ok(()), Result::and)
}

/// The number of the interface with this hardware address.
fn index_of(folder: &Path, mac: &str) -> io::Result<u32> {
    for interface in fs::read_dir(folder)?.flatten() {
        let read = |name: &str| fs::read_to_string(interface.path().join(name)).unwrap_or_default();
        if read("address").trim_end() == mac {
            return read("ifindex").trim_end().parse().map_err(io::Error::other);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface has the address {mac}")))
}

/// Writes the files behind `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`, which the read-only root has as links into
/// [`paths::ETC`]. dockerd gives containers the last one.
pub fn name_files(hostname: &str, network: Option<&Network>) -> io::Result<()> {
    let folder = Path::new(paths::ETC);
    fs::write(folder.join("hostname"), format!("{hostname}\n"))?;
    fs::write(folder.join("hosts"), format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {hostname}\n"))?;
    // Without a network there is no name server.
    let resolver = network.map(|network| resolv_conf(&network.name_servers, &network.search)).unwrap_or_default();
    fs::write(folder.join("resolv.conf"), resolver)
}

fn resolv_conf(servers: &[IpAddr], search: &[String]) -> String {
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_found_by_its_hardware_address_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mac, index) in [("lo", "00:00:00:00:00:00", "1"), ("eth0", "02:00:00:00:00:02", "7")] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("address"), format!("{mac}\n")).unwrap();
            fs::write(path.join("ifindex"), format!("{index}\n")).unwrap();
        }
        assert_eq!(index_of(folder.path(), "02:00:00:00:00:02").unwrap(), 7);
        let missing = index_of(folder.path(), "02:00:00:00:00:03").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_fails_for_ipv6_costs_ipv4_nothing() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let network = Network {
            mac: "02:00:00:00:00:02".to_owned(),
            mtu: 1500,
            addresses: vec![(address("fd00::2"), 64), (address("192.168.127.2"), 29)],
            gateways: vec![address("fd00::1"), address("192.168.127.1")],
            name_servers: Vec::new(),
            search: Vec::new(),
        };
        let four = [Step::Address(address("192.168.127.2"), 29), Step::Route(address("192.168.127.1"))];
        let six = [Step::Address(address("fd00::2"), 64), Step::Route(address("fd00::1"))];
        let all = steps(&network);
        assert_eq!((&all[..2], &all[2..]), (&four[..], &six[..]));
        // Everything is tried, and the first error is the one that is told.
        let mut tried = 0;
        let outcome = first_error(all.iter().map(|step| {
            tried += 1;
            match step {
                Step::Address(address, _) if address.is_ipv6() => Err(io::ErrorKind::PermissionDenied.into()),
                Step::Route(gateway) if gateway.is_ipv6() => Err(io::ErrorKind::NetworkUnreachable.into()),
                _ => Ok(()),
            }
        }));
        assert_eq!((tried, outcome.unwrap_err().kind()), (4, io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn resolv_conf_keeps_the_order_of_servers_and_domains() {
        let servers = ["192.168.127.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let text = resolv_conf(&servers, &["corp.example".into(), "example".into()]);
        assert_eq!(text, "nameserver 192.168.127.1\nnameserver fd00::1\nsearch corp.example example\n");
        assert_eq!(resolv_conf(&servers[..1], &[]), "nameserver 192.168.127.1\n");
    }
}
