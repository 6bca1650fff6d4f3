//! The guest's TCP connections. Each is a task that first connects to the far side, and only when that has worked answers the
//! guest's SYN; so a refused port is refused in the container too, and an unreachable one is unreachable.
//!
//! ```text
//!   SYN ──► Opening ──connected──► joined (`flow`) ──► over
//!              ├──refused──► RST
//!              ├──unreachable, forbidden──► ICMP
//!              ├──RST of the guest──► given up
//!              └──its place is given away──► over, without a word
//! ```
//! Bounds: [`MOST_OPENING`] connections that are not joined yet, [`MOST`] others, [`MOST_NAMES`] to the name server, each in
//! a [`Table`] with its rule who gives way. So a flood of SYNs to a black hole takes places from itself, and none from
//! connections that stand. SYNs that are refused a place are dropped, which the log says. Memory: [`Memory`] for all together,
//! taken when a connection stands; the first ones get large buffers, and the fuller it is the smaller they are.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Duration;

use lighter_vmm::rate_limit::RateLimit;

use super::budget::{Budget, Share};
use super::datagram::Egress;
use super::dns::Dns;
use super::icmp::Unreachable;
use super::packet::{Packet, TCP};
use super::plan;
use super::policy::{Policy, Verdict};
use super::table::{Admission, Table};

mod flow;
mod inbox;
mod inward;
mod memory;
mod open;
mod reply;
mod stack;
mod stock;
mod window;

pub use inbox::{Letterbox, inbox};
pub use inward::{inward, reset};
pub use memory::{Begun, Memory};
pub use reply::ports;

use flow::Flow;
use inbox::{Gone, Inbox};
use open::Failure;
use reply::is_syn;
use stack::{Buffers, Stack};

/// Most connections that stand.
const MOST: usize = 4096;
/// Most connections that are being opened: the far side has not answered, or the guest not its answer.
const MOST_OPENING: usize = 512;
/// Most connections to the name server.
const MOST_NAMES: usize = 64;
/// After this an idle connection may be replaced by another of the same container. Keep-alives count as signs of life.
const IDLE: Duration = Duration::from_secs(150);
/// As [`IDLE`], for one that is being opened.
const IDLE_OPENING: Duration = Duration::from_secs(10);

/// Buffers for the name server are not larger.
const NAMES: usize = 32 << 10;

/// The guest's address and the far one.
type Key = (SocketAddr, SocketAddr);

/// All connections.
pub struct Connections {
    flows: Table<Key, Letterbox>,
    opening: Table<Key, Letterbox>,
    names: Table<Key, ()>,
    tasks: JoinSet<()>,
    news: mpsc::UnboundedReceiver<News>,
    tell: mpsc::UnboundedSender<News>,
    surroundings: Surroundings,
    full: RateLimit,
}

/// What a connection's task tells: at most two messages each, so there are never many.
enum News {
    /// Both sides have answered.
    Stands(Key),
    /// The task has ended.
    Over(Key),
}

/// What every connection needs.
#[derive(Clone)]
struct Surroundings {
    egress: Egress,
    policy: Policy,
    dns: Arc<Dns>,
    /// For buffers.
    memory: Memory,
    /// For packets that wait.
    queues: Budget,
}

impl Connections {
    /// None yet. `memory` is for those that stand, `queues` for packets that wait.
    pub fn new(egress: Egress, policy: Policy, dns: Arc<Dns>, memory: Memory, queues: Budget) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        Self {
            flows: Table::new(MOST, IDLE),
            opening: Table::new(MOST_OPENING, IDLE_OPENING),
            names: Table::new(MOST_NAMES, IDLE_OPENING),
            tasks: JoinSet::new(),
            news,
            tell,
            surroundings: Surroundings { egress, policy, dns, memory, queues },
            full: RateLimit::default(),
        }
    }

    /// Takes a TCP packet of the guest. Called inside a tokio runtime.
    pub fn receive(&mut self, packet: Packet) {
        self.tidy();
        let Some((source, destination)) = reply::ports(packet.payload()) else { return };
        let key = (SocketAddr::new(packet.source, source), SocketAddr::new(packet.destination, destination));
        // A SYN that is repeated keeps nothing alive, so only those that stand are heard.
        let letterbox = match self.flows.hear(&key) {
            Some(letterbox) => Some(&*letterbox),
            None => self.opening.get(&key),
        };
        let packet = match letterbox {
            None => packet,
            Some(letterbox) => match letterbox.put(packet) {
                Ok(()) => return,
                Err(Gone(packet)) => {
                    self.forget(&key);
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
        // Without a share it is one SYN of far too many.
        let Some(share) = self.surroundings.queues.take(syn.held()) else { return };
        if !self.has_place(key) {
            return self.complain(key);
        }
        let (letterbox, inbox) = inbox(&self.surroundings.queues, Some(Standing { key, tell: self.tell.clone() }));
        // A letterbox that is dropped ends its connection.
        match self.opening.admit(key, letterbox) {
            Admission::Room => {}
            Admission::Instead(other, _) => {
                self.names.remove(&other);
                self.complain(other);
            }
            Admission::Refused(_) => {
                self.names.remove(&key);
                return self.complain(key);
            }
        }
        let surroundings = self.surroundings.clone();
        let over = Over { key, tell: self.tell.clone() };
        self.tasks.spawn(async move {
            let _over = over;
            surroundings.serve(key.1, (syn, share), inbox).await;
        });
    }

    /// Says that a container has more connections than there is room for.
    fn complain(&mut self, (container, _): Key) {
        if let Some(held_back) = self.full.allow() {
            tracing::warn!(container = %container.ip(), held_back, "A container has too many TCP connections; new ones wait");
        }
    }

    /// Whether a connection has a place once it stands; the name server's have theirs from the beginning.
    fn has_place(&mut self, key: Key) -> bool {
        if plan::is_gateway(key.1.ip()) && key.1.port() == plan::DNS_PORT {
            return match self.names.admit(key, ()) {
                Admission::Room => true,
                Admission::Instead(other, ()) => {
                    self.forget(&other);
                    true
                }
                Admission::Refused(()) => false,
            };
        }
        self.flows.would_admit(&key)
    }

    fn forget(&mut self, key: &Key) {
        self.flows.remove(key);
        self.opening.remove(key);
        self.names.remove(key);
    }

    /// Hears what the tasks have to tell.
    fn tidy(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Stands(key) => {
                    if let Some(letterbox) = self.opening.remove(&key) {
                        // Whoever gives way, this one or another, ends when its letterbox is dropped.
                        if let Admission::Instead(other, _) = self.flows.admit(key, letterbox) {
                            self.names.remove(&other);
                        }
                    }
                }
                News::Over(key) => {
                    // The task's inbox is gone; a new connection between the same ports has another.
                    let letterbox = self.flows.get(&key).or_else(|| self.opening.get(&key));
                    if letterbox.is_none_or(Letterbox::is_abandoned) {
                        self.forget(&key);
                    }
                }
            }
        }
    }
}

/// Tells that a connection is over, however its task ends.
struct Over {
    key: Key,
    tell: mpsc::UnboundedSender<News>,
}

impl Drop for Over {
    fn drop(&mut self) {
        // Nobody listens any more when the network is taken down.
        let _ = self.tell.send(News::Over(self.key));
    }
}

/// Tells that both sides of a connection have answered.
pub struct Standing {
    key: Key,
    tell: mpsc::UnboundedSender<News>,
}

impl Standing {
    fn tell(self) {
        // Nobody listens any more when the network is taken down.
        let _ = self.tell.send(News::Stands(self.key));
    }
}

impl Surroundings {
    /// From the SYN to the end.
    async fn serve(&self, far: SocketAddr, (syn, share): (Packet, Share), mut inbox: Inbox) {
        let refuse = |failure: Failure| failure.tell(&syn, &self.egress);
        let verdict = self.policy.judge_port(far);
        match verdict {
            Verdict::Silent => return,
            Verdict::Prohibited => return refuse(Failure::Unreachable(Unreachable::Prohibited)),
            Verdict::Nobody => return refuse(Failure::Unreachable(Unreachable::Host)),
            Verdict::Gateway if far.port() == plan::DNS_PORT => {
                let Some((buffers, _memory)) = self.memory.buffers(Begun::Outwards) else { return };
                let buffers = Buffers(buffers.0.min(NAMES));
                let (near, served) = tokio::io::duplex(buffers.0);
                let asker = syn.source;
                let stack = self.stack(syn, far, buffers);
                drop(share);
                tokio::join!(Flow::new(stack, near, inbox).run(&self.egress), self.dns.serve_stream(served, asker));
                return;
            }
            Verdict::Gateway => return refuse(Failure::Refused),
            Verdict::Host | Verdict::Outside => {}
        }
        let connecting = async {
            match verdict {
                Verdict::Host => open::loopback(far.port()).await,
                _ => open::outside(far, self.policy.host_access).await,
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = given_up(&syn, &mut inbox) => return,
        };
        match connected {
            Ok(stream) => {
                let Some((buffers, _memory)) = self.memory.buffers(Begun::Outwards) else {
                    return refuse(Failure::Refused);
                };
                let stack = self.stack(syn, far, buffers);
                drop(share);
                Flow::new(stack, stream, inbox).run(&self.egress).await;
            }
            Err(error) => {
                tracing::debug!(%far, %error, "a connection of the guest was not made");
                refuse(Failure::of(&error));
            }
        }
    }

    fn stack(&self, syn: Packet, far: SocketAddr, buffers: Buffers) -> Stack {
        let seed = getrandom::u64().unwrap_or_else(|_| far.port().into());
        Stack::new(syn, far, buffers, &self.egress, self.memory.sockets(), seed)
    }
}

/// Waits until the guest breaks off, or until the place is given away; repetitions of its SYN are dropped.
async fn given_up(syn: &Packet, inbox: &mut Inbox) {
    while let Some(packet) = inbox.next().await {
        // Others could guess the ports, but not the sequence number.
        if reply::is_rst(&packet) && reply::follows(&packet, syn) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(queues: &Budget) -> Connections {
        let egress = Egress::new(lighter_vmm::virtio::net::ends().1.sender());
        let policy = Policy { host_access: crate::net::HostAccess::No };
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let dns = Arc::new(Dns::new(nowhere.clone(), nowhere, policy));
        Connections::new(egress, policy, dns, Memory::new(), queues.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn n9_who_gives_way_while_it_is_opened_gives_its_place_at_the_name_server_back() {
        let mut connections = none(&Budget::new(32 << 20));
        let mut syn = |from: [u8; 4], port: u16, to: u16| {
            let mut tcp = [&port.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8], &[0x50, 2, 0xff, 0xff]].concat();
            tcp.resize(20, 0);
            let mut frame = vec![0; 14];
            frame.extend(crate::net::datagram::header(from.into(), plan::GATEWAY_V4.into(), TCP, tcp.len()));
            frame.extend(tcp);
            connections.receive(Packet::parse(frame, crate::net::packet::TYPE_IPV4).unwrap());
            (connections.names.len(), connections.opening.len())
        };
        // No task runs meanwhile, so nobody else can give anything back.
        let (one, other) = ([172, 17, 0, 66], [172, 17, 0, 2]);
        assert_eq!(syn(one, 1, plan::DNS_PORT), (1, 1));
        (1..MOST_OPENING as u16).for_each(|port| _ = syn(one, 1 + port, 81));
        assert_eq!(syn(other, 1, 81), (0, MOST_OPENING));
        assert_eq!(syn(one, 1, plan::DNS_PORT), (0, MOST_OPENING));
    }

    #[tokio::test]
    async fn n9_a_connections_task_is_smaller_than_what_is_counted_for_it() {
        let queues = Budget::new(1 << 20);
        let connections = none(&queues);
        let mut frame = vec![0; 14];
        frame.extend(crate::net::datagram::header(plan::GUEST_V4.into(), [192, 0, 2, 1].into(), TCP, 20));
        frame.resize(54, 0);
        let syn = Packet::parse(frame, crate::net::packet::TYPE_IPV4).unwrap();
        let (_letterbox, inbox) = inbox(&queues, None);
        let share = queues.take(1).unwrap();
        let task = connections.surroundings.serve(([192, 0, 2, 1], 80).into(), (syn, share), inbox);
        assert!(size_of_val(&task) < stack::REST * 2 / 3, "{} bytes", size_of_val(&task));
    }
}
