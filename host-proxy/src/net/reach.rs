//! Whether an address belongs to the host itself. The host's own addresses, the secondary ones too, are those that a socket
//! can be bound to; nothing is sent to find out. Called before anything is opened to the world, and again after.
//!
//! Where a host lets sockets be bound to addresses of others (`net.ipv4.ip_nonlocal_bind`), binding says nothing, and its
//! own table of addresses is read instead; a host without a table that can be read is taken to own everything.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::policy::HostAccess;
use crate::sys;

/// Addresses for documents (RFC 5737 and RFC 3849), which no host has.
const NOBODYS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 251));
const NOBODYS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x6c69, 0x6768, 0x7465, 0x72, 0, 1));

/// Refuses one of the host's own addresses unless `access` allows its port.
pub fn check(address: SocketAddr, access: HostAccess) -> io::Result<()> {
    if !access.allows(address.port()) && is_own(address.ip(), is_bindable)? {
        return Err(refused());
    }
    Ok(())
}

/// Refuses one of the host's own addresses unless `access` allows anything; for what has no ports.
pub fn check_any_port(address: IpAddr, access: HostAccess) -> io::Result<()> {
    if access == HostAccess::No && is_own(address, is_bindable)? {
        return Err(refused());
    }
    Ok(())
}

fn refused() -> io::Error {
    io::Error::new(
        ErrorKind::PermissionDenied,
        "it is an address of this host, and host_access does not allow the port",
    )
}

fn is_own(address: IpAddr, is_bindable: impl Fn(IpAddr) -> io::Result<bool>) -> io::Result<bool> {
    if !is_bindable(address)? {
        return Ok(false);
    }
    let nobodys = if address.is_ipv4() { NOBODYS_V4 } else { NOBODYS_V6 };
    if !is_bindable(nobodys)? {
        return Ok(true);
    }
    Ok(sys::addresses::is_own(address).unwrap_or(true))
}

/// An error other than that the address is nobody's (a descriptor too many, a family that the host lacks) is one for the caller.
fn is_bindable(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
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
    fn n10_the_hosts_own_addresses_are_found_out_the_secondary_ones_too() {
        // To 127.0.0.2 Linux speaks from 127.0.0.1, as to any secondary address from the first one.
        // Other systems have only the first one.
        let second = Some(Ipv4Addr::new(127, 0, 0, 2)).filter(|&address| UdpSocket::bind((address, 0)).is_ok());
        for address in [Some(Ipv4Addr::LOCALHOST), second].into_iter().flatten() {
            let refused = |port, access| match check((address, port).into(), access) {
                Ok(()) => false,
                Err(error) => error.kind() == ErrorKind::PermissionDenied,
            };
            assert!(refused(80, HostAccess::No) && refused(8080, HostAccess::No), "{address}");
            assert!(refused(80, HostAccess::Unprivileged) && !refused(8080, HostAccess::Unprivileged), "{address}");
            assert!(!refused(80, HostAccess::All), "{address}");
            assert!(check_any_port(address.into(), HostAccess::No).is_err());
            assert!(check_any_port(address.into(), HostAccess::Unprivileged).is_ok());
        }
    }

    #[test]
    fn n10_an_address_of_somebody_else_is_not_refused() {
        let foreign = SocketAddr::from(([192, 0, 2, 77], 80));
        assert!(check(foreign, HostAccess::No).is_ok());
    }

    #[test]
    fn n10_where_everything_can_be_bound_the_hosts_table_decides() {
        let everything = |_: IpAddr| Ok(true);
        assert!(is_own(Ipv4Addr::LOCALHOST.into(), everything).unwrap());
        let foreign = is_own([192, 0, 2, 77].into(), everything).unwrap();
        assert_eq!(foreign, sys::addresses::is_own([192, 0, 2, 77].into()).is_none(), "no table: everything is own");
        let nothing = |_: IpAddr| Ok(false);
        assert!(!is_own(Ipv4Addr::LOCALHOST.into(), nothing).unwrap());
        let short = |_: IpAddr| Err(ErrorKind::Other.into());
        assert!(is_own(Ipv4Addr::LOCALHOST.into(), short).is_err(), "a shortage is no permission");
    }
}
