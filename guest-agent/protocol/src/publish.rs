//! Messages about published ports: what dockerd wants to be listened to on the host, and what became of it. Between
//! `docker-proxy` and the agent inside the guest go a [`Port`] and a [`Published`]; the agent passes the former on in a
//! [`Publish`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Transport protocols of a container's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, which dockerd knows and no host of lighter serves.
    Sctp,
}

impl Transport {
    /// Its name, as in `80/tcp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A protocol that dockerd does not know either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("There is no protocol {0:?}: tcp, udp and sctp are known")]
pub struct UnknownTransport(String);

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Self, UnknownTransport> {
        let all = [Self::Tcp, Self::Udp, Self::Sctp];
        all.into_iter().find(|transport| transport.name() == name).ok_or_else(|| UnknownTransport(name.to_owned()))
    }
}

/// One port of a container and where it is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// By which protocol.
    pub protocol: Transport,
    /// The address on the host, as `docker run -p` has it; unspecified where it says none.
    pub host_ip: IpAddr,
    /// The port on the host, never 0: dockerd has chosen one where the user has not.
    pub host_port: u16,
    /// The container's address. It may be of the other version than `host_ip`: an IPv6 port leads to a container that has
    /// only IPv4.
    pub container_ip: IpAddr,
    /// The port in the container.
    pub container_port: u16,
}

/// The agent's one frame on [`crate::ports::PUBLISH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The boot secret, 64 lower-case hex digits.
    pub secret: String,
    /// What to publish.
    pub port: Port,
}

/// The host's one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "published", rename_all = "snake_case")]
pub enum Published {
    /// Clients of the host are served from now on until the connection ends.
    Listening,
    /// It cannot be: the message names cause and cure, and `docker run` shows it.
    Refused {
        /// For a person.
        message: String,
    },
}
