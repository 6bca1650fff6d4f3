//! The way into the guest: connections and datagrams of clients on the host, towards a container's port. To the guest they come
//! over the link from outside, as they would to a server in a network of its own. Called by `forward`, which has the sockets
//! on which clients arrive; `router` shows each packet of the guest here first.
//!
//! ```text
//!   client ──► forward ──► here: a place (container's address, ours) ──► link ──► container
//!   client ◄── forward ◄── here: whose place is it? ◄── router ◄──────── link ◄── container
//! ```
//! Why over the link and not over vsock, which leads into the guest as well: a container sees the client's own address; its
//! refusal, its end and its reset reach the client as they are; datagrams, for which vsock has no place, go the same way; the
//! guest's kernel passes frames on, and no program there copies bytes. Over vsock the agent would be the client that every container
//! sees, and a relay of bytes. How fast the one and the other is was not compared: the other was never built, and `bench net`
//! measures connections out of the guest, whose code (`tcp::flow`) these share.
//!
//! `source` says as whom a client speaks, `places` keeps who speaks at the moment, `streams` and `datagrams` carry.
//!
//! Bounds: [`MOST_STREAMS`] connections, whose memory comes out of the account for all TCP connections ([`Memory`]) and leaves
//! enough of it to the guest; [`MOST_CLIENTS`] UDP clients. A connection beyond waits until another one has ended.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::Budget;
use super::datagram::Egress;
use super::packet::{Packet, TCP, UDP};
use super::{tcp, udp};

mod datagrams;
mod places;
mod source;

pub use datagrams::Datagrams;

use datagrams::Client;
use places::Places;
use tcp::{Begun, Letterbox, Memory};

/// Most connections at the same time.
pub const MOST_STREAMS: usize = 2048;
/// Most UDP clients at the same time.
const MOST_CLIENTS: usize = 16_384;

/// See the head of this file. Cheap to clone.
#[derive(Clone)]
pub struct Inward(Arc<Shared>);

struct Shared {
    egress: Egress,
    memory: Memory,
    queues: Budget,
    room: Arc<Semaphore>,
    streams: Arc<Places<Letterbox>>,
    clients: Arc<Places<Arc<Client>>>,
}

/// Room for one connection, given back when it is dropped.
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Inward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inward").finish_non_exhaustive()
    }
}

impl Inward {
    /// Nobody yet. `memory` is for connections, `queues` for packets of the guest that wait.
    pub(super) fn new(egress: Egress, memory: Memory, queues: Budget) -> Self {
        Self(Arc::new(Shared {
            egress,
            memory,
            queues,
            room: Arc::new(Semaphore::new(MOST_STREAMS)),
            streams: Arc::new(Places::new(MOST_STREAMS)),
            clients: Arc::new(Places::new(MOST_CLIENTS)),
        }))
    }

    /// Waits until there is room for a connection.
    pub async fn room(&self) -> Room {
        let room = Arc::clone(&self.0.room).acquire_owned().await;
        Room { _permit: room.expect("nobody closes the semaphore") }
    }

    /// How many more connections find room.
    #[cfg(test)]
    pub(crate) fn rooms(&self) -> usize {
        self.0.room.available_permits()
    }

    /// Joins `client`, who came from `peer`, with the container's port, until both have ended or one broke off. A container
    /// that refuses, or is not there, resets the client.
    pub async fn join(&self, client: TcpStream, peer: SocketAddr, container: SocketAddr, room: Room) {
        let Shared { egress, memory, queues, streams, .. } = &*self.0;
        let (letterbox, inbox) = tcp::inbox(queues, None);
        let speaks = source::of(peer.ip(), container.ip());
        let Some(place) = streams.take(container, speaks.address, speaks.port(peer), letterbox) else {
            tracing::debug!(%container, "a client of a published port found no port to speak from");
            return tcp::reset(client);
        };
        let Some((buffers, share)) = memory.buffers(Begun::Inwards) else {
            tracing::debug!(%container, "a client of a published port found no memory");
            return tcp::reset(client);
        };
        tcp::inward(client, inbox, (container, place.speaker()), buffers, (egress, memory.sockets())).await;
        drop((share, place, room));
    }

    /// A packet of the guest; given back if nobody here waits for it.
    pub(super) fn receive(&self, packet: Packet) -> Option<Packet> {
        let Shared { streams, clients, .. } = &*self.0;
        match packet.protocol {
            TCP if !streams.is_empty() => {
                let Some((from, to)) = tcp::ports(packet.payload()) else { return Some(packet) };
                let ends = (SocketAddr::new(packet.source, from), SocketAddr::new(packet.destination, to));
                streams.with(ends, packet, |letterbox, packet| {
                    // Its task is about to end, or the container sends more than its window.
                    let _ = letterbox.put(packet);
                })
            }
            UDP if !clients.is_empty() => {
                let Some((from, to, _)) = udp::parse(packet.payload()) else { return Some(packet) };
                let ends = (SocketAddr::new(packet.source, from), SocketAddr::new(packet.destination, to));
                clients.with(ends, packet, |client, packet| client.answer(&packet))
            }
            _ => Some(packet),
        }
    }
}
