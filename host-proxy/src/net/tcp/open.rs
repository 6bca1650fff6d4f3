//! How a connection of the guest is opened on the host's side, and how a failure is told to the guest: refused and
//! unreachable are two things, and programs act on the difference. Called by the connection's task.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::reply;
use crate::net::datagram::Egress;
use crate::net::icmp::{self, Unreachable};
use crate::net::packet::{Packet, TCP};
use crate::net::policy::HostAccess;
use crate::net::reach;

/// A peer that a dead network hides is found out after some minutes, as the guest's own probes end here.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What the guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A reset.
    Refused,
    /// An ICMP message.
    Unreachable(Unreachable),
    /// Nothing: it will try again, or give up by itself.
    Nothing,
}

impl Failure {
    /// What `error` of a connect means to whoever asked for it.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Self::Refused,
            ErrorKind::HostUnreachable => Self::Unreachable(Unreachable::Host),
            ErrorKind::PermissionDenied => Self::Unreachable(Unreachable::Prohibited),
            // The guest has been waiting as long, and a process of the host would get the same answer.
            ErrorKind::TimedOut => Self::Nothing,
            ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
                Self::Unreachable(Unreachable::Network)
            }
            // The host is short of something, which may pass.
            _ if error.raw_os_error().is_some_and(is_shortage) => Self::Nothing,
            _ => Self::Unreachable(Unreachable::Network),
        }
    }

    /// Tells the guest, whose packet was `syn`.
    pub fn tell(self, syn: &Packet, egress: &Egress) {
        match self {
            Self::Nothing => {}
            Self::Refused => {
                if let Some(reset) = reply::reset(syn.payload()) {
                    egress.segment(syn.destination, syn.source, TCP, &reset);
                }
            }
            Self::Unreachable(why) => {
                let message = icmp::unreachable(why, syn.destination, syn.ip());
                egress.segment(syn.destination, syn.source, icmp::protocol(syn.destination), &message);
            }
        }
    }
}

/// EMFILE, ENFILE, ENOMEM, ENOBUFS; the last one's number differs by system.
fn is_shortage(number: i32) -> bool {
    [24, 23, 12, 105, 55].contains(&number)
}

/// Connects to an address of the world. `access` says whether it may be one of the host's own.
pub async fn outside(address: SocketAddr, access: HostAccess) -> io::Result<TcpStream> {
    reach::check(address, access)?;
    let stream = connect(address).await?;
    // The host may have got an address since the check.
    reach::check(address, access)?;
    Ok(prepared(stream))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    another(TcpStream::connect(address).await?)
}

/// Refuses a connection that has met itself: a socket that the system gives the very port that it is to reach, on an address of
/// this host on which nobody listens, opens both of its ends (RFC 9293 §3.5, simultaneous open).
fn another(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Connects to the host's loopback: IPv4 first, then IPv6, because many programs listen on only one of them and mean both.
pub async fn loopback(port: u16) -> io::Result<TcpStream> {
    match connect((Ipv4Addr::LOCALHOST, port).into()).await {
        Ok(stream) => Ok(prepared(stream)),
        Err(first) => {
            let second = connect((Ipv6Addr::LOCALHOST, port).into()).await;
            second.map(prepared).map_err(|_| first)
        }
    }
}

/// Whoever writes little at a time collects it itself, if it wants to.
pub(super) fn prepared(stream: TcpStream) -> TcpStream {
    // Without these the connection works as well.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn n10_a_port_on_which_nobody_listens_is_refused_although_a_connection_meets_itself() {
        // Ports are chosen by the system; one that another program takes meanwhile is no failure.
        for _ in 0..20 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = socket.local_addr().unwrap();
            if let Ok(stream) = socket.connect(address).await {
                assert_eq!(another(stream).unwrap_err().kind(), ErrorKind::ConnectionRefused);
                return;
            }
        }
        panic!("no socket met itself");
    }

    #[test]
    fn refused_unreachable_and_forbidden_are_told_apart() {
        let of = |kind: ErrorKind| Failure::of(&kind.into());
        assert_eq!(of(ErrorKind::ConnectionRefused), Failure::Refused);
        assert_eq!(of(ErrorKind::HostUnreachable), Failure::Unreachable(Unreachable::Host));
        assert_eq!(of(ErrorKind::NetworkUnreachable), Failure::Unreachable(Unreachable::Network));
        assert_eq!(of(ErrorKind::PermissionDenied), Failure::Unreachable(Unreachable::Prohibited));
        assert_eq!(of(ErrorKind::TimedOut), Failure::Nothing);
        assert_eq!(Failure::of(&io::Error::from_raw_os_error(24)), Failure::Nothing);
    }
}
