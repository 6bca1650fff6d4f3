//! Where the guest's packets may go. A pure function of the destination, so that every rule stands on one page; the one rule
//! that needs the host's answer (is this address the host's own?) is asked by `reach`.
//!
//! | destination | verdict |
//! |---|---|
//! | the gateway | echo and DNS, nothing else listens there |
//! | the host's alias | the host's loopback, as far as `host_access` allows; else prohibited |
//! | loopback, `0.0.0.0/8`, `::`, and IPv4 in IPv6 clothes | prohibited: they would reach the host's loopback by a side door |
//! | `169.254.0.0/16`, `fe80::/10`, and what `metadata` lists | prohibited: clouds keep their secrets there |
//! | `64:ff9b::/96`, `2002::/16` | as the IPv4 address in it, which a translator on the way would make of it |
//! | multicast, broadcast, reserved | dropped: no process asked for them, and an answer would be noise |
//! | the rest of the link | unreachable: nobody is there |
//! | anything else | as a user's process would reach it |
//!
//! The host's own interface addresses fall under the last rule: a user's process reaches them too, and what it finds there is
//! no more than what the alias gives. So they go together: what `host_access` closes is prohibited there as well, because a
//! service that listens on all addresses behind a firewall is open to every process of the host itself.
//!
//! Why ports below 1024 need a word of their own: what listens there belongs to the system (SSH, mail, printing, file shares,
//! RPC), is often configured to trust whoever comes from the host itself, and was not started by whoever runs containers.
//! What developers start for their containers listens above, and works without a setting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{metadata, plan};

/// The first port that needs no privilege.
const UNPRIVILEGED: u16 = 1024;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// To the router itself.
    Gateway,
    /// To the host's loopback.
    Host,
    /// Out, as a user's process would.
    Outside,
    /// Refused with a message that says so.
    Prohibited,
    /// Refused because nobody is there.
    Nobody,
    /// Dropped without a word.
    Silent,
}

/// Which services of the host containers may reach, by its alias and by its own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAccess {
    /// None.
    No,
    /// Those on ports from 1024 on.
    Unprivileged,
    /// All.
    All,
}

impl HostAccess {
    /// As it stands in `config.toml`.
    pub fn in_toml(self) -> &'static str {
        match self {
            Self::No => "false",
            Self::Unprivileged => "true",
            Self::All => "\"all\"",
        }
    }

    /// Whether a service on `port` may be reached.
    pub fn allows(self, port: u16) -> bool {
        match self {
            Self::No => false,
            Self::Unprivileged => port >= UNPRIVILEGED,
            Self::All => true,
        }
    }
}

/// The user's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What of the host itself may be reached.
    pub host_access: HostAccess,
}

impl Policy {
    /// What becomes of a packet to a port of `destination`.
    pub fn judge_port(self, destination: SocketAddr) -> Verdict {
        match self.judge(destination.ip()) {
            Verdict::Host if !self.host_access.allows(destination.port()) => Verdict::Prohibited,
            verdict => verdict,
        }
    }

    /// What becomes of a packet to `destination`, whatever its port.
    pub fn judge(self, destination: IpAddr) -> Verdict {
        if plan::is_gateway(destination) {
            return Verdict::Gateway;
        }
        if plan::is_host(destination) {
            return if self.host_access == HostAccess::No { Verdict::Prohibited } else { Verdict::Host };
        }
        if plan::is_on_link(destination) {
            return Verdict::Nobody;
        }
        match destination {
            IpAddr::V4(address) => judge_v4(address),
            IpAddr::V6(address) => judge_v6(address),
        }
    }
}

fn judge_v4(address: Ipv4Addr) -> Verdict {
    match address.octets() {
        [255, 255, 255, 255] | [224..=255, ..] => Verdict::Silent,
        [0 | 127, ..] | [169, 254, ..] => Verdict::Prohibited,
        _ if metadata::is_metadata_v4(address) => Verdict::Prohibited,
        _ => Verdict::Outside,
    }
}

fn judge_v6(address: Ipv6Addr) -> Verdict {
    if address.is_multicast() {
        return Verdict::Silent;
    }
    // `::`, `::1`, IPv4-compatible and IPv4-mapped ones: all below 2^48. The last would be IPv4 to the host's sockets.
    let embedded = u128::from(address) >> 48 == 0;
    if embedded || address.is_unicast_link_local() || metadata::is_metadata_v6(address) {
        return Verdict::Prohibited;
    }
    match translated(address).map(judge_v4) {
        None | Some(Verdict::Outside) => Verdict::Outside,
        Some(_) => Verdict::Prohibited,
    }
}

/// The IPv4 address that a translator (RFC 6052 §2.1) or a tunnel (RFC 3056 §2) makes of an IPv6 one.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Ipv4Addr::from(bits as u32)),
        [0x2002, ..] => Some(Ipv4Addr::from((bits >> 80) as u32)),
        _ => None,
    }
}

/// Whether a packet may come from `source`: any address that could be a container's. Answers go to the guest whatever it is.
pub fn is_plausible_source(source: IpAddr) -> bool {
    if plan::is_ours(source) {
        return false;
    }
    match source {
        IpAddr::V4(address) => judge_v4(address) == Verdict::Outside,
        IpAddr::V6(address) => judge_v6(address) == Verdict::Outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(host_access: bool, address: &str) -> Verdict {
        let host_access = if host_access { HostAccess::All } else { HostAccess::No };
        Policy { host_access }.judge(address.parse().unwrap())
    }

    #[test]
    fn n10_ports_of_the_system_are_reached_only_if_all_are() {
        let judge = |host_access, port| Policy { host_access }.judge_port((plan::HOST_V4, port).into());
        for (port, unprivileged) in [
            (1, Verdict::Prohibited),
            (22, Verdict::Prohibited),
            (1023, Verdict::Prohibited),
            (1024, Verdict::Host),
            (65_535, Verdict::Host),
        ] {
            assert_eq!(judge(HostAccess::No, port), Verdict::Prohibited, "{port}");
            assert_eq!(judge(HostAccess::Unprivileged, port), unprivileged, "{port}");
            assert_eq!(judge(HostAccess::All, port), Verdict::Host, "{port}");
        }
        let gateway = Policy { host_access: HostAccess::No }.judge_port((plan::GATEWAY_V4, 53).into());
        assert_eq!(gateway, Verdict::Gateway);
    }

    #[test]
    fn n10_no_address_but_the_alias_leads_to_the_hosts_loopback() {
        for host_access in [true, false] {
            for address in [
                "127.0.0.1",
                "127.0.0.53",
                "127.255.255.255",
                "0.0.0.0",
                "0.1.2.3",
                "::",
                "::1",
                "::127.0.0.1",
                "::ffff:127.0.0.1",
                "::ffff:192.0.2.1",
                "::ffff:0:0",
                "::2",
            ] {
                assert_eq!(judge(host_access, address), Verdict::Prohibited, "{address}");
            }
        }
        for alias in ["192.168.127.3", "fd6c:6967:6874:6572::3"] {
            assert_eq!(judge(true, alias), Verdict::Host);
            assert_eq!(judge(false, alias), Verdict::Prohibited);
        }
    }

    #[test]
    fn n10_link_local_addresses_and_metadata_services_are_never_reached() {
        for address in ["169.254.169.254", "169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"] {
            assert_eq!(judge(true, address), Verdict::Prohibited, "{address}");
        }
        // Not link-local, and through a translator or a tunnel.
        for address in ["100.100.100.200", "168.63.129.16", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]
        {
            assert_eq!(judge(true, address), Verdict::Prohibited, "{address}");
        }
        for address in ["64:ff9b::7f00:1", "2002:7f00:1::1", "64:ff9b::", "2002:e000:1::", "64:ff9b::ffff:ffff"] {
            assert_eq!(judge(true, address), Verdict::Prohibited, "{address}");
        }
        for address in ["169.253.255.255", "169.255.0.0", "fec0::1", "64:ff9b::c000:201", "2002:c000:201::1"] {
            assert_eq!(judge(true, address), Verdict::Outside, "{address}");
        }
    }

    #[test]
    fn n2_multicast_and_broadcast_go_nowhere() {
        for address in ["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1"] {
            assert_eq!(judge(true, address), Verdict::Silent, "{address}");
        }
    }

    #[test]
    fn n10_the_internet_and_the_lan_are_reached_and_the_rest_of_the_link_is_empty() {
        for address in ["192.0.2.1", "10.0.0.1", "192.168.1.1", "192.168.127.8", "172.17.0.1", "2001:db8::1", "fd00::1"]
        {
            assert_eq!(judge(false, address), Verdict::Outside, "{address}");
        }
        for address in ["192.168.127.0", "192.168.127.4", "192.168.127.7", "fd6c:6967:6874:6572::4"] {
            assert_eq!(judge(true, address), Verdict::Nobody, "{address}");
        }
        for address in ["192.168.127.1", "fd6c:6967:6874:6572::1"] {
            assert_eq!(judge(false, address), Verdict::Gateway, "{address}");
        }
    }

    #[test]
    fn n5_sources_that_no_container_has_are_refused() {
        for source in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "192.168.127.1",
            "192.168.127.3",
            "::",
            "::1",
            "fe80::2",
            "ff02::1",
            "169.254.1.1",
            "fd6c:6967:6874:6572::1",
        ] {
            assert!(!is_plausible_source(source.parse().unwrap()), "{source}");
        }
        for source in ["192.168.127.2", "172.17.0.2", "fd6c:6967:6874:6572::2", "fd00:1::2", "2001:db8::2"] {
            assert!(is_plausible_source(source.parse().unwrap()), "{source}");
        }
    }
}
