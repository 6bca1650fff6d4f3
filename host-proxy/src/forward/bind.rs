//! Where a published port listens on the host, and what is said when it cannot. Called by `forward`.
//!
//! | `docker run -p` names | `publish = "localhost"` | `publish = "as-asked"` |
//! |---|---|---|
//! | no address, `0.0.0.0` | `127.0.0.1` | `0.0.0.0` |
//! | (dockerd asks for `::` as well) | `::1` | `::` |
//! | an address | that one | that one |
//!
//! Where the host has no IPv6, what dockerd asks for beside IPv4 is not missed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lighter_protocol::{Port, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use super::list::List;
use crate::settings::Publish;
use crate::sys::low_ports;

/// Clients that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a port listens with.
#[derive(Debug)]
pub enum Open {
    /// For TCP.
    Stream(TcpListener),
    /// For UDP.
    Datagram(UdpSocket),
    /// IPv6 on a host that has none.
    Nothing,
}

impl Open {
    /// Where clients reach it.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Stream(listener) => listener.local_addr().ok(),
            Self::Datagram(socket) => socket.local_addr().ok(),
            Self::Nothing => None,
        }
    }
}

/// Listens for `port`; an error names cause and cure. `list` knows what is published already. Called inside a tokio runtime.
pub fn open(port: &Port, publish: Publish, list: &List) -> Result<Open, String> {
    if port.host_port == 0 || port.container_port == 0 {
        return Err("There is no port 0: name one from 1 to 65535".to_owned());
    }
    let address = SocketAddr::new(place(port.host_ip, publish)?, port.host_port);
    let opened = match port.protocol {
        Transport::Tcp => listen(address).map(Open::Stream),
        Transport::Udp => bind(address).map(Open::Datagram),
        Transport::Sctp => return Err(no_sctp()),
    };
    match opened {
        Err(error) if port.host_ip.is_unspecified() && address.is_ipv6() && lacks_ipv6(&error) => Ok(Open::Nothing),
        opened => opened.map_err(|error| explain(&error, address, port.protocol, list)),
    }
}

/// The address to listen on.
fn place(asked: IpAddr, publish: Publish) -> Result<IpAddr, String> {
    let senseless = match asked {
        IpAddr::V4(address) => address.is_multicast() || address.octets()[0] >= 240,
        // Mapped ones would be IPv4 by another name.
        IpAddr::V6(address) => address.is_multicast() || address.to_ipv4_mapped().is_some(),
    };
    if senseless {
        return Err(format!(
            "{asked} is no address that a port can be published on: name one of this computer, or none"
        ));
    }
    Ok(match (asked, publish) {
        (IpAddr::V4(address), Publish::Localhost) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V6(address), Publish::Localhost) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => asked,
    })
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // IPv4 has a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A port whose last connections the system still remembers is free.
    low_ports::REUSE.map_or(Ok(()), |reuse| socket.set_reuse_address(reuse))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Whether the host has no IPv6, or not the address that every host with IPv6 has.
fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT, by Linux, macOS and Windows.
    let unsupported = error.raw_os_error().is_some_and(|number| [97, 47, 10047].contains(&number));
    unsupported || matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
}

/// Cause and cure.
fn explain(error: &io::Error, address: SocketAddr, protocol: Transport, list: &List) -> String {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => match list.holder(address, protocol) {
            Some(container) => format!(
                "{address}/{protocol} is published for the container at {container} already: `lighter ports` shows it; choose another port"
            ),
            None => format!(
                "{address}/{protocol} is in use by another program on this computer: end that one, or choose another port"
            ),
        },
        ErrorKind::PermissionDenied => {
            format!("This user may not listen on {address}/{protocol}: {}", low_ports::cure(port))
        }
        ErrorKind::AddrNotAvailable => format!(
            "{ip} is no address of this computer, so nothing can be published on it: name one of its own, or none"
        ),
        _ if error.raw_os_error().is_some_and(|number| [23, 24, 10024].contains(&number)) => {
            format!(
                "lighter has no file descriptor left for {address}/{protocol}: `lighter doctor` says how to allow more"
            )
        }
        _ => format!("Cannot listen on {address}/{protocol}: {error}"),
    }
}

/// What is said for SCTP.
pub fn no_sctp() -> String {
    "lighter publishes tcp and udp, and no sctp: leave the port unpublished and talk to it from another container"
        .to_owned()
}

/// What is said where the machine has no network.
pub fn no_network() -> String {
    "This machine has no network, so no port can be published: set `network = true` in config.toml and run `lighter restart`"
        .to_owned()
}

/// What is said when there are so many.
pub fn too_many(most: usize) -> String {
    format!(
        "{most} ports are published, and lighter keeps no more: publish fewer, or let containers talk in a docker network"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(asked: &str, publish: Publish) -> Option<String> {
        place(asked.parse().unwrap(), publish).ok().map(|address| address.to_string())
    }

    #[test]
    fn h11_a_port_without_an_address_is_this_computers_alone_unless_the_settings_say_otherwise() {
        for (asked, localhost) in [("0.0.0.0", "127.0.0.1"), ("::", "::1")] {
            assert_eq!(placed(asked, Publish::Localhost).as_deref(), Some(localhost));
            assert_eq!(placed(asked, Publish::AsAsked).as_deref(), Some(asked));
        }
        for exact in ["127.0.0.1", "127.0.0.9", "192.0.2.1", "::1", "2001:db8::1"] {
            for publish in [Publish::Localhost, Publish::AsAsked] {
                assert_eq!(placed(exact, publish).as_deref(), Some(exact));
            }
        }
    }

    #[test]
    fn h11_privileged_ports_and_shortages_name_cause_and_cure() {
        let list = List::default();
        let said = |error: io::Error| explain(&error, "127.0.0.1:80".parse().unwrap(), Transport::Tcp, &list);
        let privileged = said(ErrorKind::PermissionDenied.into());
        assert!(
            privileged.contains("may not listen on 127.0.0.1:80/tcp: ") && privileged.ends_with(&low_ports::cure(80))
        );
        assert!(said(io::Error::from_raw_os_error(24)).contains("no file descriptor left"));
        assert!(said(io::Error::other("odd")).contains("Cannot listen on 127.0.0.1:80/tcp: odd"));
        assert!(too_many(4096).contains("4096 ports are published"));
    }

    #[test]
    fn only_a_host_without_ipv6_lacks_it() {
        assert!(lacks_ipv6(&io::Error::from_raw_os_error(97)) && lacks_ipv6(&ErrorKind::AddrNotAvailable.into()));
        assert!(!lacks_ipv6(&ErrorKind::AddrInUse.into()) && !lacks_ipv6(&ErrorKind::PermissionDenied.into()));
    }
}
