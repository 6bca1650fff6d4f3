//! One question to one port, and what its answer means. Called by the scan, which keeps many of them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getpeername, getsockname, recv, send,
    socket_with, sockopt,
};

/// What the ports are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Asked by a connect.
    Tcp,
    /// Asked by a datagram.
    Udp,
}

/// What is known of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Open,
    /// It was refused, or cannot be reached.
    Closed,
    /// Nothing came.
    Silent,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// Non-blocking.
    pub socket: OwnedFd,
    /// Which port was asked.
    pub port: u16,
    /// How it was asked.
    pub protocol: Protocol,
    since: Instant,
}

/// A question that has been asked.
#[derive(Debug)]
pub enum Begun {
    /// Answered at once.
    Known(Verdict),
    /// Not yet.
    Waits(Asked),
}

/// A question for the address of `localhost`, which a name server answers in whatever way.
const QUESTION: &[u8] = b"\x6c\x74\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

impl Protocol {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// How long an answer is waited for. A connect is repeated by the kernel after one second and after three.
    pub fn patience(self) -> Duration {
        match self {
            Self::Tcp => Duration::from_secs(5),
            Self::Udp => Duration::from_millis(1500),
        }
    }

    /// Least time between two questions: what keeps track of datagrams on the way forgets them only after half a minute.
    pub fn pace(self) -> Duration {
        match self {
            Self::Tcp => Duration::from_micros(50),
            Self::Udp => Duration::from_micros(500),
        }
    }

    /// The event that tells of an answer.
    pub fn wanted(self) -> PollFlags {
        match self {
            Self::Tcp => PollFlags::OUT,
            Self::Udp => PollFlags::IN,
        }
    }
}

/// Asks.
pub fn begin(protocol: Protocol, to: SocketAddr) -> io::Result<Begun> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    let asked = Asked { socket, port: to.port(), protocol, since: Instant::now() };
    let begun = connect(&asked.socket, &to).and_then(|()| match protocol {
        Protocol::Tcp => Ok(()),
        Protocol::Udp => send(&asked.socket, QUESTION, SendFlags::empty()).map(drop),
    });
    match begun {
        Err(Errno::INPROGRESS) => Ok(Begun::Waits(asked)),
        Err(errno) => meaning(errno).map(Begun::Known),
        Ok(()) if protocol == Protocol::Udp => Ok(Begun::Waits(asked)),
        Ok(()) => Ok(Begun::Known(asked.accepted())),
    }
}

impl Asked {
    /// What the answer says, if there is one.
    pub fn verdict(&self) -> io::Result<Option<Verdict>> {
        match self.protocol {
            Protocol::Tcp => match sockopt::socket_error(&self.socket)? {
                Ok(()) => Ok(Some(self.accepted())),
                Err(errno) => meaning(errno).map(Some),
            },
            Protocol::Udp => match recv(&self.socket, &mut [0u8; 512], RecvFlags::empty()) {
                // One that has met itself has heard its own question; an echo sends the same, but from another port.
                Ok(_) => Ok(Some(self.accepted())),
                Err(Errno::AGAIN) => Ok(None),
                Err(errno) => meaning(errno).map(Some),
            },
        }
    }

    /// Whether it has waited long enough.
    pub fn is_overdue(&self) -> bool {
        self.since.elapsed() >= self.protocol.patience()
    }

    /// Open, unless the kernel gave this very socket the port that it asks.
    fn accepted(&self) -> Verdict {
        match (getsockname(&self.socket), getpeername(&self.socket)) {
            (Ok(own), Ok(Some(other))) if own == other => Verdict::Closed,
            _ => Verdict::Open,
        }
    }
}

/// What a failure says of the port; one that says something of this host instead is an error.
fn meaning(errno: Errno) -> io::Result<Verdict> {
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ACCESS => {
            Ok(Verdict::Closed)
        }
        Errno::TIMEDOUT => Ok(Verdict::Silent),
        errno => Err(errno.into()),
    }
}
