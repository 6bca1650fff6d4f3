//! The guest's UDP: each pair of a guest's port and a far one has a connected socket on the host and a task, so only answers
//! of that very peer come back, and an unreachable port is reported as such.
//!
//! Bounds: [`MOST`] pairs, shared between containers by the rule of [`Table`]; a pair is forgotten after [`IDLE`] without a
//! datagram either way (a name server's sooner). Datagrams that get no place are dropped, which the log says. What waits is
//! taken from a [`Budget`].

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use lighter_vmm::rate_limit::RateLimit;

use super::budget::{Budget, Share};
use super::datagram::Egress;
use super::dns::Dns;
use super::icmp::{self, Unreachable};
use super::packet::Packet;
use super::policy::{Policy, Verdict};
use super::table::{Admission, Table};
use super::{plan, reach};

/// Most pairs at the same time.
const MOST: usize = 1024;
/// A pair without traffic for so long is over (RFC 4787 asks for two minutes at least).
pub(super) const IDLE: Duration = Duration::from_secs(120);
/// For name servers, which answer once.
const IDLE_DNS: Duration = Duration::from_secs(15);
/// After this a pair may be replaced by another of the same container: it has probably been answered.
const IDLE_ENOUGH: Duration = Duration::from_secs(5);
/// Datagrams that wait for a pair's task: a burst of some ten milliseconds, which is how long a busy host keeps a task waiting.
/// Their memory is bounded by the [`Budget`] alone; the number bounds how late one may arrive.
const QUEUED: usize = 256;
/// How often a socket may meet itself in a row.
const MOST_MEETINGS: usize = 8;
/// Longest payload in bytes.
const LONGEST: usize = 65_507;

/// The guest's address and the far one.
type Key = (SocketAddr, SocketAddr);

/// A packet that waits, and the memory that it is counted with.
type Queued = (Packet, Share);

/// All pairs.
pub struct Datagrams {
    pairs: Table<Key, mpsc::Sender<Queued>>,
    tasks: JoinSet<Key>,
    surroundings: Surroundings,
    queues: Budget,
    full: RateLimit,
}

#[derive(Clone)]
struct Surroundings {
    egress: Egress,
    policy: Policy,
    dns: Arc<Dns>,
}

/// Source port, destination port, payload.
pub(super) fn parse(segment: &[u8]) -> Option<(u16, u16, &[u8])> {
    let header = segment.first_chunk::<8>()?;
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // A length of zero means a jumbogram, which there are none of.
    Some((half(0), half(2), segment.get(8..usize::from(half(4)))?))
}

impl Datagrams {
    /// None yet.
    pub fn new(egress: Egress, policy: Policy, dns: Arc<Dns>, queues: Budget) -> Self {
        let surroundings = Surroundings { egress, policy, dns };
        let pairs = Table::new(MOST, IDLE_ENOUGH);
        Self { pairs, tasks: JoinSet::new(), surroundings, queues, full: RateLimit::default() }
    }

    /// Takes a UDP packet of the guest. Called inside a tokio runtime.
    pub fn receive(&mut self, packet: Packet) {
        self.tidy();
        let Some((source, destination, payload)) = parse(packet.payload()) else { return };
        let key = (SocketAddr::new(packet.source, source), SocketAddr::new(packet.destination, destination));
        let refuse = |why| {
            let message = icmp::unreachable(why, packet.destination, packet.ip());
            let protocol = icmp::protocol(packet.destination);
            self.surroundings.egress.segment(packet.destination, packet.source, protocol, &message);
        };
        match self.surroundings.policy.judge_port(key.1) {
            Verdict::Silent => return,
            Verdict::Prohibited => return refuse(Unreachable::Prohibited),
            Verdict::Nobody => return refuse(Unreachable::Host),
            Verdict::Gateway if destination == plan::DNS_PORT => {
                let Surroundings { egress, dns, .. } = &self.surroundings;
                return dns.receive(payload, key.0, key.1, egress);
            }
            Verdict::Gateway => return refuse(Unreachable::Port),
            Verdict::Host | Verdict::Outside => {}
        }
        // More than there is memory for: dropped, as on any network.
        let Some(share) = self.queues.take(packet.held()) else { return };
        let queued = match self.pairs.hear(&key).map(|pair| pair.clone()) {
            None => (packet, share),
            Some(pair) => match pair.try_send((packet, share)) {
                // More than its task can send.
                Ok(()) | Err(TrySendError::Full(_)) => return,
                Err(TrySendError::Closed(queued)) => queued,
            },
        };
        self.begin(key, queued);
    }

    fn begin(&mut self, key: Key, queued: Queued) {
        self.pairs.remove(&key);
        let (sender, inbox) = mpsc::channel(QUEUED);
        // An empty channel has room.
        let _ = sender.try_send(queued);
        // A pair whose sender is dropped ends.
        if let Admission::Refused(_) = self.pairs.admit(key, sender) {
            if let Some(held_back) = self.full.allow() {
                let container = key.0.ip();
                tracing::warn!(%container, held_back, "A container has too many UDP peers; datagrams to new ones are dropped");
            }
            return;
        }
        let surroundings = self.surroundings.clone();
        self.tasks.spawn(async move {
            surroundings.serve(key, inbox).await;
            key
        });
    }

    /// Forgets pairs that are over.
    fn tidy(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(key) if self.pairs.get(&key).is_some_and(mpsc::Sender::is_closed) => drop(self.pairs.remove(&key)),
                // A task that panicked does not say whose it was.
                Err(_) => self.pairs.remove_all(mpsc::Sender::is_closed),
                Ok(_) => {}
            }
        }
    }
}

impl Surroundings {
    async fn serve(&self, (near, far): Key, mut inbox: mpsc::Receiver<Queued>) {
        let mut quote = Vec::new();
        if let Err(error) = self.relay(near, far, &mut inbox, &mut quote).await {
            tracing::debug!(%far, %error, "datagrams of the guest go nowhere");
            let Some(why) = reason(&error) else { return };
            let message = icmp::unreachable(why, far.ip(), &quote);
            self.egress.segment(far.ip(), near.ip(), icmp::protocol(far.ip()), &message);
        }
    }

    /// Until both sides are silent, or sending fails, or the place is given away; `quote` is then the beginning of the packet
    /// that an error is about.
    async fn relay(
        &self,
        near: SocketAddr,
        far: SocketAddr,
        inbox: &mut mpsc::Receiver<Queued>,
        quote: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut pending = inbox.recv().await;
        // For the message, should nothing even be opened.
        pending.iter().for_each(|(packet, _)| *quote = icmp::quoted(packet.ip()).to_vec());
        let target = match self.policy.judge_port(far) {
            Verdict::Host => SocketAddr::from((Ipv4Addr::LOCALHOST, far.port())),
            _ => {
                reach::check(far, self.policy.host_access)?;
                far
            }
        };
        let socket = open(target).await?;
        let idle = if far.port() == plan::DNS_PORT { IDLE_DNS } else { IDLE };
        loop {
            if let Some((packet, _share)) = pending.take() {
                *quote = icmp::quoted(packet.ip()).to_vec();
                if let Some((_, _, payload)) = parse(packet.payload()) {
                    socket.send(payload).await?;
                }
            }
            let happened = timeout(idle, async {
                tokio::select! {
                    queued = inbox.recv() => Ok(queued),
                    received = receive(&socket) => received.map(|payload| {
                        self.egress.udp(far, near, &payload);
                        None
                    }),
                }
            });
            match happened.await {
                Ok(outcome) => pending = outcome?,
                Err(_) => return Ok(()),
            }
            if pending.is_none() && inbox.is_closed() {
                return Ok(());
            }
        }
    }
}

/// A socket that talks to one peer only.
async fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    for _ in 0..MOST_MEETINGS {
        let socket = UdpSocket::bind(reach::any(target.ip())).await?;
        socket.connect(target).await?;
        // The system may give a socket the very port that it is to reach on this host, and what it sends would come back.
        if socket.local_addr()? != target {
            return Ok(socket);
        }
    }
    Err(ErrorKind::ConnectionRefused.into())
}

/// The next datagram, or what the network says of the last one sent. Memory for the longest one is taken only while one is
/// there.
pub(super) async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    loop {
        // The rest of this never waits as long as there is something to be read, and others want to run too.
        tokio::task::coop::consume_budget().await;
        // An unreachable port makes a socket ready for its error and for nothing else.
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            let _cleared = socket.try_io(Interest::ERROR, || io::Result::<()>::Err(ErrorKind::WouldBlock.into()));
        }
        let mut payload = Vec::with_capacity(LONGEST);
        match socket.try_recv_buf(&mut payload) {
            Ok(_) => return Ok(payload),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What the guest is told of an error.
fn reason(error: &io::Error) -> Option<Unreachable> {
    match error.kind() {
        // Windows says of a port that nobody has that the connection was reset.
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(Unreachable::Port),
        ErrorKind::HostUnreachable => Some(Unreachable::Host),
        ErrorKind::PermissionDenied => Some(Unreachable::Prohibited),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
            Some(Unreachable::Network)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn n8_lengths_that_lie_are_no_datagram() {
        let segment = |length: u16| [&[0, 1, 0, 2][..], &length.to_be_bytes(), &[0, 0, b'a', b'b', b'c']].concat();
        assert_eq!(parse(&segment(11)), Some((1, 2, &b"abc"[..])));
        assert_eq!(parse(&segment(9)), Some((1, 2, &b"a"[..])));
        for length in [0, 7, 12, u16::MAX] {
            assert_eq!(parse(&segment(length)), None, "{length}");
        }
    }

    #[tokio::test]
    async fn n8_a_far_side_that_sends_without_end_lets_others_run() {
        const SENT: usize = 200;
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = open(server.local_addr().unwrap()).await.unwrap();
        for _ in 0..SENT {
            server.send_to(b"more", socket.local_addr().unwrap()).await.unwrap();
        }
        socket.readable().await.unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let reader = tokio::spawn(async move {
            while count.load(Ordering::Relaxed) < SENT {
                receive(&socket).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Its turn comes behind the reader's, and before that one is through.
        let other = tokio::spawn(async move { read.load(Ordering::Relaxed) });
        assert!(other.await.unwrap() < SENT);
        tokio::time::timeout(crate::net::tests::guest::DEADLINE, reader).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn n8_a_burst_that_comes_while_the_pairs_task_waits_for_its_turn_is_not_lost() {
        const BURST: u8 = 100;
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = SocketAddr::from((plan::HOST_V4, server.local_addr().unwrap().port()));
        let policy = Policy { host_access: crate::net::HostAccess::Unprivileged };
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let dns = Arc::new(Dns::new(nowhere.clone(), nowhere, policy));
        let egress = Egress::new(lighter_vmm::virtio::net::ends().1.sender());
        let mut datagrams = Datagrams::new(egress, policy, dns, Budget::new(1 << 20));
        let from = plan::GUEST_V4.into();
        for number in 0..BURST {
            let segment = crate::net::tests::guest::udp(from, 5000, address, &[number]);
            let mut frame = vec![0; 14];
            frame.extend(crate::net::tests::guest::packet(from, address.ip(), 17, &segment));
            // No task runs between two of them.
            datagrams.receive(Packet::parse(frame, crate::net::packet::TYPE_IPV4).unwrap());
        }
        let mut payload = [0; 8];
        for number in 0..BURST {
            let received = timeout(crate::net::tests::guest::DEADLINE, server.recv(&mut payload)).await;
            assert_eq!((received.unwrap().unwrap(), payload[0]), (1, number));
        }
    }

    proptest! {
        #[test]
        fn n8_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            parse(&bytes);
        }
    }
}
