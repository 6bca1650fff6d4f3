//! Whether an address belongs to the host itself. The routing table knows: to reach itself, a host speaks from the very
//! address that it speaks to. Connecting a UDP socket asks the table and sends nothing. Called before anything is opened to
//! the world.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Refuses one of the host's own addresses unless `host_access`.
pub fn check(address: SocketAddr, host_access: bool) -> io::Result<()> {
    if !host_access && is_own(address.ip())? {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "it is an address of this host, and host_access is off",
        ));
    }
    Ok(())
}

fn is_own(address: IpAddr) -> io::Result<bool> {
    let socket = UdpSocket::bind(any(address))?;
    // Any port but 0; nothing is sent to it.
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip() == address)
}

/// The unspecified address of the same version, any port.
pub fn any(address: IpAddr) -> SocketAddr {
    match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_the_hosts_own_address_is_found_out_and_refused_when_it_is_not_wanted() {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        assert_eq!(check(own, false).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(check(own, true).is_ok());
    }
}
