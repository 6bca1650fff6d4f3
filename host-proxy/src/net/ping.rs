//! Echo requests of the guest. The gateway and the host's alias answer at once; others are asked through an unprivileged ping
//! socket, where the host gives one (Linux by `ping_group_range`, macOS always); where not, one line in the log says so.
//!
//! Bounds: [`MOST`] conversations, shared between containers by the rule of [`Table`], each forgotten after [`IDLE`]; what waits
//! is taken from a [`Budget`].

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::budget::{Budget, Share};
use super::datagram::Egress;
use super::icmp::{self, Echo, Unreachable};
use super::packet::Packet;
use super::policy::{HostAccess, Policy, Verdict};
use super::reach;
use super::table::{Admission, Named, Table};

/// Most conversations at the same time.
const MOST: usize = 64;
/// A conversation without an echo for so long is over.
const IDLE: Duration = Duration::from_secs(20);
/// After this a conversation may be replaced by another of the same container.
const IDLE_ENOUGH: Duration = Duration::from_secs(3);
/// Requests that wait for a conversation's task.
const QUEUED: usize = 16;

/// Guest, peer, and the guest's identifier.
type Key = (IpAddr, IpAddr, u16);

/// All conversations.
pub struct Pings {
    open: Table<Key, mpsc::Sender<Queued>>,
    tasks: JoinSet<io::Result<()>>,
    egress: Egress,
    policy: Policy,
    queues: Budget,
    told: bool,
}

/// A packet that waits, and the memory that it is counted with.
type Queued = (Packet, Share);

impl Named for Key {
    fn source(&self) -> IpAddr {
        self.0
    }
}

impl Pings {
    /// None yet.
    pub fn new(egress: Egress, policy: Policy, queues: Budget) -> Self {
        let open = Table::new(MOST, IDLE_ENOUGH);
        Self { open, tasks: JoinSet::new(), egress, policy, queues, told: false }
    }

    /// Takes an ICMP packet of the guest; what is no echo request is dropped. Called inside a tokio runtime.
    pub fn receive(&mut self, packet: Packet) {
        self.tidy();
        let Some(echo) = icmp::request(&packet) else { return };
        let (guest, peer) = (packet.source, packet.destination);
        let protocol = icmp::protocol(peer);
        let why = match self.policy.judge(peer) {
            Verdict::Silent => return,
            Verdict::Gateway | Verdict::Host => {
                return self.egress.segment(peer, guest, protocol, &echo.to_reply(peer));
            }
            Verdict::Prohibited => Unreachable::Prohibited,
            Verdict::Nobody => Unreachable::Host,
            Verdict::Outside => return self.pass((guest, peer, echo.identifier), packet),
        };
        let message = icmp::unreachable(why, peer, packet.ip());
        self.egress.segment(peer, guest, protocol, &message);
    }

    fn pass(&mut self, key: Key, packet: Packet) {
        let Some(share) = self.queues.take(packet.held()) else { return };
        if let Some(inbox) = self.open.hear(&key)
            && !inbox.is_closed()
        {
            // One request too many is a lost ping.
            let _ = inbox.try_send((packet, share));
            return;
        }
        self.open.remove(&key);
        let (sender, inbox) = mpsc::channel(QUEUED);
        // An empty channel has room.
        let _ = sender.try_send((packet, share));
        // A conversation whose sender is dropped ends.
        if !matches!(self.open.admit(key, sender), Admission::Refused(_)) {
            self.tasks.spawn(converse(key, inbox, self.egress.clone(), self.policy.host_access));
        }
    }

    fn tidy(&mut self) {
        let mut ended = false;
        while let Some(outcome) = self.tasks.try_join_next() {
            ended = true;
            if let (Ok(Err(error)), false) = (outcome, self.told) {
                self.told = true;
                tracing::info!(%error, "This host gives no ping sockets: containers cannot ping the outside");
            }
        }
        if ended {
            self.open.remove_all(mpsc::Sender::is_closed);
        }
    }
}

/// One conversation. An error means that there is no ping socket.
async fn converse(key: Key, mut inbox: mpsc::Receiver<Queued>, egress: Egress, access: HostAccess) -> io::Result<()> {
    let (guest, peer, identifier) = key;
    let tell = |why, packet: &Packet| {
        let message = icmp::unreachable(why, peer, packet.ip());
        egress.segment(peer, guest, icmp::protocol(peer), &message);
    };
    let mut buffer = vec![0; 65_535];
    let mut socket = None;
    loop {
        let arrived = timeout(IDLE, async {
            match &socket {
                None => Ok(inbox.recv().await),
                Some(socket) => tokio::select! {
                    packet = inbox.recv() => Ok(packet),
                    length = UdpSocket::recv(socket, &mut buffer) => Err(length),
                },
            }
        });
        match arrived.await {
            Ok(Ok(Some((packet, _share)))) => {
                let open = match socket.take() {
                    Some(open) => open,
                    None if reach::check_any_port(peer, access).is_err() => {
                        tell(Unreachable::Prohibited, &packet);
                        return Ok(());
                    }
                    None => ping_socket(peer)?,
                };
                let sent = match icmp::request(&packet) {
                    Some(echo) => open.send(&echo.to_request(peer)).await,
                    None => Ok(0),
                };
                if sent.is_err_and(|error| error.kind() == io::ErrorKind::NetworkUnreachable) {
                    tell(Unreachable::Network, &packet);
                }
                socket = Some(open);
            }
            Ok(Err(Ok(length))) => {
                if let Some(echo) = icmp::reply(peer, without_header(&buffer[..length], peer)) {
                    // The system has put its own identifier in.
                    let reply = Echo { identifier, ..echo }.to_reply(peer);
                    egress.segment(peer, guest, icmp::protocol(peer), &reply);
                }
            }
            // An error of the network, such as an unreachable host: the ping is lost.
            Ok(Err(Err(_))) => {}
            Ok(Ok(None)) | Err(_) => return Ok(()),
        }
    }
}

/// A socket that sends echo requests to one peer and gets its replies; no privilege is needed.
fn ping_socket(peer: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match peer {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(peer, 0).into())?;
    UdpSocket::from_std(socket.into())
}

/// macOS hands the IP header over with the message.
fn without_header(message: &[u8], peer: IpAddr) -> &[u8] {
    match message.first() {
        Some(first) if peer.is_ipv4() && first >> 4 == 4 => {
            message.get(usize::from(first & 0xf) * 4..).unwrap_or_default()
        }
        _ => message,
    }
}
