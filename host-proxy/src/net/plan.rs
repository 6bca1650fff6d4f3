//! The addresses of the network between guest and host. All of them are made up here and seen by nobody outside the machine;
//! the guest gets them in the agent's welcome, so nothing has to be negotiated.
//!
//! - IPv4: eight addresses of a private range. dockerd hands out 172.17.0.0/16 and upwards, then blocks of 192.168.0.0/16 after
//!   asking the routing table, so it never takes these; and so small a network hides as little as possible of the
//!   networks that the host may be in. A host whose own network has these eight addresses cannot reach those of its
//!   neighbours from containers.
//! - IPv6: a unique local prefix (RFC 4193). Programs that choose by RFC 6724 prefer IPv4 to it for public destinations, which
//!   is right: whether the host has IPv6 is only known when it is tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lighter_protocol::Network;

/// The guest's hardware address; locally administered, as is the gateway's.
pub const GUEST_MAC: [u8; 6] = [0x02, 0x6c, 0x69, 0x67, 0x68, 0x02];
/// The hardware address that answers for everything else.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x6c, 0x69, 0x67, 0x68, 0x01];
/// MTU of the link in bytes: the longest frames cost no more than short ones.
pub const MTU: u16 = 65_520;

/// Router and name server.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 1);
/// The guest.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 2);
/// What the guest calls the host's loopback.
pub const HOST_NAME: &str = "host.docker.internal";
/// Its address, if it may be reached.
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 3);
/// Bits of the IPv4 network's prefix.
pub const PREFIX_V4: u8 = 29;

/// Router.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd6c, 0x6967, 0x6874, 0x6572, 0, 0, 0, 1);
/// The guest.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd6c, 0x6967, 0x6874, 0x6572, 0, 0, 0, 2);
/// The host's loopback.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd6c, 0x6967, 0x6874, 0x6572, 0, 0, 0, 3);
/// Bits of the IPv6 network's prefix.
pub const PREFIX_V6: u8 = 64;

/// The port on which the gateway answers names.
pub const DNS_PORT: u16 = 53;

/// What the agent is told. `search` are the host's search domains.
pub fn welcome(search: Vec<String>) -> Network {
    let mac: Vec<String> = GUEST_MAC.iter().map(|byte| format!("{byte:02x}")).collect();
    Network {
        mac: mac.join(":"),
        mtu: MTU,
        addresses: vec![(GUEST_V4.into(), PREFIX_V4), (GUEST_V6.into(), PREFIX_V6)],
        gateways: vec![GATEWAY_V4.into(), GATEWAY_V6.into()],
        name_servers: vec![GATEWAY_V4.into()],
        search,
    }
}

/// Whether the router or the alias of the host has this address, so that the link answers for it.
pub fn is_ours(address: IpAddr) -> bool {
    is_gateway(address) || is_host(address)
}

/// Whether this is the router.
pub fn is_gateway(address: IpAddr) -> bool {
    address == IpAddr::V4(GATEWAY_V4) || address == IpAddr::V6(GATEWAY_V6)
}

/// Whether this is the alias of the host.
pub fn is_host(address: IpAddr) -> bool {
    address == IpAddr::V4(HOST_V4) || address == IpAddr::V6(HOST_V6)
}

/// Whether the address belongs to the network between guest and host.
pub fn is_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => (u32::from(address) ^ u32::from(GATEWAY_V4)) >> (32 - PREFIX_V4) == 0,
        IpAddr::V6(address) => (u128::from(address) ^ u128::from(GATEWAY_V6)) >> (128 - PREFIX_V6) == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_plan_is_on_the_link_and_docker_never_takes_them() {
        for address in [GATEWAY_V4, GUEST_V4, HOST_V4] {
            assert!(is_on_link(address.into()) && address.is_private());
            assert!(address.octets()[0] == 192, "dockerd's first pools are 172.17.0.0/16 to 172.31.0.0/16");
        }
        for address in [GATEWAY_V6, GUEST_V6, HOST_V6] {
            assert!(is_on_link(address.into()) && address.is_unique_local());
        }
        for other in ["192.168.127.8", "192.168.126.255", "fd6c:6967:6874:6573::1", "::1"] {
            assert!(!is_on_link(other.parse().unwrap()), "{other}");
        }
        assert!(!is_ours(GUEST_V4.into()) && !is_ours(GUEST_V6.into()));
    }
}
