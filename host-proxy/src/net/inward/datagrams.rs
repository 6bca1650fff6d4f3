//! Datagrams of clients to a container's UDP port, and the answers back to the client that asked, from the socket that it asked.
//! Called by `forward`, with a socket per published port.
//!
//! Bounds: [`MOST`] clients of one port, and fewer the more there are of all ports together, the longest silent one giving way
//! to a new one; each is forgotten after [`IDLE`] without a datagram either way.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use lighter_vmm::rate_limit::RateLimit;

use super::places::Place;
use super::{Inward, source};
use crate::net::packet::Packet;
use crate::net::udp;

/// Most clients of one port.
const MOST: usize = 512;
/// One port takes no more than this part of the places that are left, so that some are left for the next one.
const PART: usize = 8;
/// But always so many.
const LEAST: usize = 2;
/// A client without traffic for so long is gone (RFC 4787 asks for two minutes at least).
const IDLE: Duration = Duration::from_secs(120);
/// Datagrams that are taken from the socket at once.
const TURN: usize = 32;
/// Longest payload in bytes.
const LONGEST: usize = 65_507;
/// After an error that is nobody's in particular.
const PAUSE: Duration = Duration::from_millis(100);

/// One client, as the answers find it.
pub struct Client {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    began: Instant,
    /// Milliseconds from `began` to its last datagram.
    last: AtomicU64,
}

impl Client {
    /// Sends it what the container says; lost if the host has no room, as on any network.
    pub fn answer(&self, packet: &Packet) {
        if let Some((_, _, payload)) = udp::parse(packet.payload()) {
            self.touch();
            let _ = self.socket.try_send_to(payload, self.address);
        }
    }

    fn touch(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// When it is forgotten if it stays silent.
    fn expires(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + IDLE
    }
}

/// The clients of one port.
pub struct Datagrams {
    inward: Inward,
    socket: Arc<UdpSocket>,
    container: SocketAddr,
    clients: HashMap<SocketAddr, (Arc<Client>, Place<Arc<Client>>)>,
    full: RateLimit,
}

impl Datagrams {
    /// Those who speak to `socket` mean `container`.
    pub fn new(inward: Inward, socket: UdpSocket, container: SocketAddr) -> Self {
        let socket = Arc::new(socket);
        Self { inward, socket, container, clients: HashMap::new(), full: RateLimit::default() }
    }

    /// For ever.
    pub async fn serve(mut self) {
        // Never later than the next client is to be forgotten.
        let mut due = Instant::now();
        loop {
            // A socket that is never empty would keep this thread from everything else.
            tokio::task::coop::consume_budget().await;
            let socket = Arc::clone(&self.socket);
            tokio::select! {
                ready = socket.readable() => {
                    if self.clients.is_empty() {
                        due = Instant::now() + IDLE;
                    }
                    if ready.and_then(|()| self.take()).is_err() {
                        sleep(PAUSE).await;
                    }
                }
                () = sleep_until(due), if !self.clients.is_empty() => {
                    let now = Instant::now();
                    self.clients.retain(|_, (client, _)| client.expires() > now);
                    due = self.clients.values().map(|(client, _)| client.expires()).min().unwrap_or(now + IDLE);
                }
            }
        }
    }

    /// Passes on what has come.
    fn take(&mut self) -> io::Result<()> {
        // Memory for the longest one is taken only while there is one.
        let mut payload = Vec::with_capacity(LONGEST);
        for _ in 0..TURN {
            payload.clear();
            match self.socket.try_recv_buf_from(&mut payload) {
                Ok((_, from)) => self.pass(from, &payload),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Windows says here that an earlier answer found nobody.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pass(&mut self, from: SocketAddr, payload: &[u8]) {
        if !self.clients.contains_key(&from) && !self.admit(from) {
            if let Some(held_back) = self.full.allow() {
                tracing::warn!(container = %self.container, held_back, "Published UDP ports have too many clients");
            }
            return;
        }
        if let Some((client, place)) = self.clients.get(&from) {
            client.touch();
            self.inward.0.egress.udp(place.speaker(), self.container, payload);
        }
    }

    /// A new client, if there is room.
    fn admit(&mut self, from: SocketAddr) -> bool {
        let places = &self.inward.0.clients;
        while self.clients.len() >= (places.left() / PART).clamp(LEAST, MOST) {
            let silent = self.clients.iter().min_by_key(|(_, (client, _))| client.expires()).map(|(&from, _)| from);
            if silent.and_then(|from| self.clients.remove(&from)).is_none() {
                break;
            }
        }
        let (socket, began) = (Arc::clone(&self.socket), Instant::now());
        let client = Arc::new(Client { socket, address: from, began, last: AtomicU64::new(0) });
        let speaks = source::of(from.ip(), self.container.ip());
        let place = places.take(self.container, speaks.address, speaks.port(from), Arc::clone(&client));
        let Some(place) = place else { return false };
        self.clients.insert(from, (client, place));
        true
    }
}
