//! As whom a client speaks to a container. Servers want to know who talks to them, so a client of another computer keeps its
//! address; but an answer must find its way back out of the guest, so nobody speaks as an address that the guest
//! may have inside. Pure functions. Called by `inward`.
//!
//! | the client's address | the container sees |
//! |---|---|
//! | loopback, link-local, what no packet may come from | the gateway |
//! | `172.16.0.0/12`, where dockerd puts its networks | the gateway |
//! | the first 16 bits (64 over IPv6) of the container's own | the gateway |
//! | of the other IP version than the container's | the gateway |
//! | any other | the client's own address |
//!
//! What is left is a client whose address lies in another network of the guest than the container's: one that the user made
//! with addresses of the LAN. Containers cannot reach those addresses outside either.

use std::net::{IpAddr, SocketAddr};

use crate::net::{plan, policy};

/// The address that the container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaks {
    /// The client's, or the gateway's of the container's IP version.
    pub address: IpAddr,
    own: bool,
}

impl Speaks {
    /// The port to speak from, if it is free; `None` leaves the choice. The gateway serves names on a port of its own, and
    /// many clients share its address.
    pub fn port(self, client: SocketAddr) -> Option<u16> {
        self.own.then_some(client.port())
    }
}

/// As whom `client` speaks to `container`.
pub fn of(client: IpAddr, container: IpAddr) -> Speaks {
    if keeps(client, container) {
        return Speaks { address: client, own: true };
    }
    let address = match container {
        IpAddr::V4(_) => plan::GATEWAY_V4.into(),
        IpAddr::V6(_) => plan::GATEWAY_V6.into(),
    };
    Speaks { address, own: false }
}

fn keeps(client: IpAddr, container: IpAddr) -> bool {
    // Loopback, link-local, multicast, unspecified; and the link's own.
    if !policy::is_plausible_source(client) || plan::is_on_link(client) {
        return false;
    }
    match (client, container) {
        (IpAddr::V4(client), IpAddr::V4(container)) => {
            let [first, second, ..] = client.octets();
            let of_dockerd = first == 172 && second & 0xf0 == 16;
            !of_dockerd && client.octets()[..2] != container.octets()[..2]
        }
        (IpAddr::V6(client), IpAddr::V6(container)) => client.octets()[..8] != container.octets()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(client: &str, container: &str) -> String {
        of(client.parse().unwrap(), container.parse().unwrap()).address.to_string()
    }

    #[test]
    fn a_client_of_another_computer_keeps_its_address() {
        for client in ["192.168.1.20", "10.0.0.7", "203.0.113.9", "172.32.0.1", "172.15.255.255", "100.64.0.1"] {
            assert_eq!(seen(client, "172.17.0.2"), client);
        }
        for client in ["2001:db8::9", "fd00::9"] {
            assert_eq!(seen(client, "fd00:1::2"), client);
        }
    }

    #[test]
    fn nobody_speaks_as_an_address_that_the_guest_may_have_inside() {
        for client in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "172.16.0.1",
            "172.17.0.9",
            "172.31.255.255",
            "192.168.127.1",
            "192.168.127.2",
            "192.168.127.6",
            "::1",
            "2001:db8::9",
        ] {
            assert_eq!(seen(client, "172.17.0.2"), "192.168.127.1", "{client}");
        }
        assert_eq!(seen("10.5.200.1", "10.5.0.2"), "192.168.127.1", "a network that the user made");
        for client in ["::1", "fe80::1", "ff02::1", "fd6c:6967:6874:6572::2", "fd00:1::9", "192.168.1.20"] {
            assert_eq!(seen(client, "fd00:1::2"), "fd6c:6967:6874:6572::1", "{client}");
        }
    }

    #[test]
    fn only_a_kept_address_keeps_its_port() {
        let client: SocketAddr = "192.168.1.20:53".parse().unwrap();
        assert_eq!(of(client.ip(), "172.17.0.2".parse().unwrap()).port(client), Some(53));
        let client: SocketAddr = "127.0.0.1:53".parse().unwrap();
        assert_eq!(of(client.ip(), "172.17.0.2".parse().unwrap()).port(client), None);
    }
}
