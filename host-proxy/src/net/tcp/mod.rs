//! The guest's TCP connections. Each is a task that first connects to the far side, and only when that has worked answers the
//! guest's SYN; so a refused port is refused in the container too, and an unreachable one is unreachable.
//!
//! ```text
//!   SYN ──► Opening ──connected──► joined (`flow`) ──► over
//!              ├──refused──► RST
//!              ├──unreachable, forbidden──► ICMP
//!              └──RST of the guest──► given up
//! ```
//! Bounds: [`MOST`] connections. The first [`ROOMY`] of them have buffers of 256 KiB each way, the others of 32 KiB, so a guest
//! takes 360 MiB at worst, and only if it leaves every buffer full. SYNs beyond are dropped, which the log says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use lighter_vmm::rate_limit::RateLimit;

use super::datagram::Egress;
use super::dns::Dns;
use super::icmp::Unreachable;
use super::packet::{Packet, TCP};
use super::plan;
use super::policy::{Policy, Verdict};

mod flow;
mod inbox;
mod open;
mod reply;
mod stack;
mod stock;

use flow::Flow;
use inbox::{Gone, Inbox, Letterbox, inbox};
use open::Failure;
use reply::is_syn;
use stack::{Buffers, Stack};
use stock::Stock;

/// Most connections at the same time.
const MOST: usize = 4096;
/// So many have large buffers.
const ROOMY: usize = 256;
const LARGE: Buffers = Buffers(256 << 10);
const SMALL: Buffers = Buffers(32 << 10);

/// The guest's address and the far one.
type Key = (SocketAddr, SocketAddr);

/// All connections.
pub struct Connections {
    flows: HashMap<Key, Letterbox>,
    tasks: JoinSet<()>,
    over: mpsc::UnboundedReceiver<Key>,
    tell_over: mpsc::UnboundedSender<Key>,
    surroundings: Surroundings,
    full: RateLimit,
}

/// What every connection needs.
#[derive(Clone)]
struct Surroundings {
    egress: Egress,
    policy: Policy,
    dns: Arc<Dns>,
    sockets: Stock,
}

impl Connections {
    /// None yet.
    pub fn new(egress: Egress, policy: Policy, dns: Arc<Dns>) -> Self {
        let (tell_over, over) = mpsc::unbounded_channel();
        let surroundings = Surroundings { egress, policy, dns, sockets: Stock::default() };
        let full = RateLimit::default();
        Self { flows: HashMap::new(), tasks: JoinSet::new(), over, tell_over, surroundings, full }
    }

    /// Takes a TCP packet of the guest. Called inside a tokio runtime.
    pub fn receive(&mut self, packet: Packet) {
        self.tidy();
        let Some((source, destination)) = reply::ports(packet.payload()) else { return };
        let key = (SocketAddr::new(packet.source, source), SocketAddr::new(packet.destination, destination));
        let packet = match self.flows.get(&key) {
            None => packet,
            Some(letterbox) => match letterbox.put(packet) {
                Ok(()) => return,
                Err(Gone(packet)) => {
                    self.flows.remove(&key);
                    packet
                }
            },
        };
        if is_syn(&packet) {
            self.open(key, packet);
        } else if let Some(reset) = reply::reset(packet.payload()) {
            // Of a connection that is over, or from before this network was there.
            self.surroundings.egress.segment(packet.destination, packet.source, TCP, &reset);
        }
    }

    fn open(&mut self, key: Key, syn: Packet) {
        if self.flows.len() >= MOST {
            if let Some(held_back) = self.full.allow() {
                tracing::warn!(limit = MOST, held_back, "Containers have too many TCP connections; new ones wait");
            }
            return;
        }
        let buffers = if self.flows.len() < ROOMY { LARGE } else { SMALL };
        let (letterbox, inbox) = inbox();
        self.flows.insert(key, letterbox);
        let surroundings = self.surroundings.clone();
        let over = Over { key, tell: self.tell_over.clone() };
        self.tasks.spawn(async move {
            let _over = over;
            surroundings.serve(key.1, syn, inbox, buffers).await;
        });
    }

    /// Forgets connections that are over.
    fn tidy(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while let Ok(key) = self.over.try_recv() {
            // The task's inbox is gone; a new connection between the same ports has another.
            if self.flows.get(&key).is_some_and(Letterbox::is_abandoned) {
                self.flows.remove(&key);
            }
        }
    }
}

/// Tells that a connection is over, however its task ends.
struct Over {
    key: Key,
    tell: mpsc::UnboundedSender<Key>,
}

impl Drop for Over {
    fn drop(&mut self) {
        // Nobody listens any more when the network is taken down.
        let _ = self.tell.send(self.key);
    }
}

impl Surroundings {
    /// From the SYN to the end.
    async fn serve(&self, far: SocketAddr, syn: Packet, mut inbox: Inbox, buffers: Buffers) {
        let refuse = |failure: Failure| failure.tell(&syn, &self.egress);
        let connecting = async {
            match self.policy.judge(far.ip()) {
                Verdict::Host => open::loopback(far.port()).await,
                _ => open::outside(far, self.policy.host_access).await,
            }
        };
        match self.policy.judge(far.ip()) {
            Verdict::Silent => return,
            Verdict::Prohibited => return refuse(Failure::Unreachable(Unreachable::Prohibited)),
            Verdict::Nobody => return refuse(Failure::Unreachable(Unreachable::Host)),
            Verdict::Gateway if far.port() == plan::DNS_PORT => {
                let (near, served) = tokio::io::duplex(SMALL.0);
                let stack = self.stack(syn, far, SMALL);
                tokio::join!(Flow::new(stack, near, inbox).run(&self.egress), self.dns.serve_stream(served));
                return;
            }
            Verdict::Gateway => return refuse(Failure::Refused),
            Verdict::Host | Verdict::Outside => {}
        }
        let connected = tokio::select! {
            connected = connecting => connected,
            () = given_up(&mut inbox) => return,
        };
        match connected {
            Ok(stream) => Flow::new(self.stack(syn, far, buffers), stream, inbox).run(&self.egress).await,
            Err(error) => {
                tracing::debug!(%far, %error, "a connection of the guest was not made");
                refuse(Failure::of(&error));
            }
        }
    }

    fn stack(&self, syn: Packet, far: SocketAddr, buffers: Buffers) -> Stack {
        let seed = getrandom::u64().unwrap_or_else(|_| far.port().into());
        Stack::new(syn, far, buffers, &self.egress, &self.sockets, seed)
    }
}

/// Waits until the guest breaks off; repetitions of its SYN are dropped.
async fn given_up(inbox: &mut Inbox) {
    while let Some(packet) = inbox.next().await {
        if reply::is_rst(&packet) {
            return;
        }
    }
}
