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
//!                             ├─► dns          (on the gateway's address, the only listener)
//!                             └─► inward ◄──── clients of published ports (`forward`)
//! ```
//! `plan` has the addresses, `policy` what may be reached, `packet` and `datagram` read and write packets.
//!
//! Of all this only TCP towards the guest is somebody else's code: `smoltcp`, in `tcp::stack`. It is Rust, makes no system calls,
//! so it is the same on Windows and macOS, and lets each connection be an interface and a socket of its own in a task. What
//! else there is: pasta (passt) and slirp4netns are C programs for Linux alone; libslirp and lwIP are C, and would read a
//! hostile guest's bytes in the daemon without Rust's checks; gVisor's stack is Go; a TCP of our own on smoltcp's packet types,
//! as OpenVMM has, is thousands of lines more.
//!
//! Measured (`cargo xtask bench net`, the README's Numbers) is the whole way through this module beside pasta and slirp4netns,
//! on Linux. Throughput at an MTU of 65520: 1.05 to 2.7 times pasta's, and 29 (6.3 to 81) for one flow out of the guest; 1.5
//! to 3.7 times slirp4netns's. At 1500: 7.4 to 27 times and 5.6 to 11 times. A short connection and a request take 1.13 times
//! pasta's time. Not measured are the others, and anything on Windows or macOS. So what speaks for smoltcp against another
//! library is language and reach, and that nothing measured speaks against it.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_protocol::Network as Welcome;
use lighter_vmm::virtio::net::{HostEnd, Net, link};
use tokio::task::AbortHandle;

mod budget;
mod checksum;
mod datagram;
mod dns;
mod fragments;
mod icmp;
mod inward;
mod metadata;
mod neighbours;
mod packet;
mod ping;
mod plan;
mod policy;
mod reach;
mod router;
mod table;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod udp;

/// What reads bytes of a guest or of a name server, for the fuzz targets.
pub mod reading {
    pub use super::dns::reading::*;
    pub use super::icmp::{Echo, Unreachable, protocol, quoted, reply, request, unreachable};
    pub use super::neighbours::{answer_arp, answer_solicitation};
    pub use super::packet::{Bad, Packet};
}

pub use inward::{Datagrams, Inward, Room};
pub use plan::{HOST_NAME, HOST_V4};
pub use policy::{HostAccess, Policy};

use budget::Budget;
use datagram::Egress;
use dns::Dns;
use router::Router;
use tcp::Memory;

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
    dns: Arc<Dns>,
    inward: Inward,
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
        let queues = Budget::new(router::QUEUES);
        let memory = Memory::new();
        let inward = Inward::new(Egress::new(link.sender()), memory.clone(), queues.clone());
        let router = Router::new(link, policy, Arc::clone(&dns), inward.clone(), (memory, queues));
        let router = tokio::spawn(router.run()).abort_handle();
        Self { router, dns, inward }
    }

    /// What the agent is told, with the host's search domains as they are now.
    pub fn welcome(&self) -> Welcome {
        plan::welcome(self.dns.search())
    }

    /// The way into the guest.
    pub fn inward(&self) -> Inward {
        self.inward.clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.router.abort();
    }
}
