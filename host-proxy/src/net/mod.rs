//! The network between the guest and the world: a TCP/IP stack in this process. The guest's frames end here and become
//! sockets of the host, so containers reach what a process of the user reaches, with the host's own routes, VPNs and name
//! servers, and without any privilege. Started by `daemon::lifecycle`; the guest's half is the virtio-net device.
//!
//! ```text
//!   guest ──frames──► router ─┬─► neighbours: ARP, NDP
//!                             ├─► fragments ─┐
//!                             ├─► tcp  ◄─────┤ a task per connection ──► sockets of the host
//!                             ├─► udp  ◄─────┤ a task per pair
//!                             ├─► ping ◄─────┘
//!                             └─► dns          (on the gateway's address, the only listener)
//! ```
//! `plan` has the addresses, `policy` what may be reached, `packet` and `datagram` read and write packets.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_protocol::Network as Welcome;
use lighter_vmm::virtio::net::{HostEnd, Net, link};
use tokio::task::AbortHandle;

mod checksum;
mod datagram;
mod dns;
mod fragments;
mod icmp;
mod neighbours;
mod packet;
mod ping;
mod plan;
mod policy;
mod reach;
mod router;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use policy::Policy;

use dns::Dns;
use router::Router;

/// The host's files by which names are resolved.
#[derive(Debug, Clone)]
pub struct NameFiles {
    /// Names with addresses.
    pub hosts: PathBuf,
    /// Name servers and search domains; where the system has no such file, its own resolver is asked.
    pub resolv_conf: PathBuf,
}

/// A running stack; dropping it ends every connection.
#[derive(Debug)]
pub struct Network {
    router: AbortHandle,
    welcome: Welcome,
}

impl Network {
    /// The device for a new machine, and the stack behind it. Called inside a tokio runtime.
    pub fn start(policy: Policy, names: NameFiles) -> (Net, Self) {
        let (device, link) = link(plan::GUEST_MAC, plan::MTU);
        (device, Self::behind(link, policy, names))
    }

    /// The stack behind a link whose other end the caller serves. Called inside a tokio runtime.
    pub fn behind(link: HostEnd, policy: Policy, names: NameFiles) -> Self {
        let dns = Arc::new(Dns::new(names.hosts, names.resolv_conf, policy));
        let welcome = plan::welcome(dns.search());
        let router = tokio::spawn(Router::new(link, policy, dns).run()).abort_handle();
        Self { router, welcome }
    }

    /// What the agent is told.
    pub fn welcome(&self) -> Welcome {
        self.welcome.clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.router.abort();
    }
}
