//! Accepts clients of one published TCP port and joins each with the container. Called by `forward`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lighter_vmm::rate_limit::RateLimit;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::net::{Inward, Room};

/// Most clients of one port, so that one does not starve the others; more wait in the system's queue.
const MOST: usize = 1024;
/// After a failed accept: out of descriptors, the next one fails at once as well.
const PAUSE: Duration = Duration::from_millis(100);

/// One port's clients.
pub struct Streams<'a> {
    inward: Inward,
    listener: TcpListener,
    container: SocketAddr,
    joined: &'a mut JoinSet<()>,
    failed: RateLimit,
}

impl<'a> Streams<'a> {
    /// Those who come to `listener` mean `container`. Their connections live in `joined`.
    pub fn new(inward: Inward, listener: TcpListener, container: SocketAddr, joined: &'a mut JoinSet<()>) -> Self {
        Self { inward, listener, container, joined, failed: RateLimit::default() }
    }

    /// For ever.
    pub async fn serve(mut self) {
        loop {
            let Self { inward, listener, container, joined, failed } = &mut self;
            tokio::select! {
                Some(_) = joined.join_next() => {}
                (room, accepted) = accept(inward, listener), if joined.len() < MOST => match accepted {
                    Ok((client, peer)) => {
                        let (inward, container) = (inward.clone(), *container);
                        joined.spawn(async move { inward.join(client, peer, container, room).await });
                    }
                    Err(error) => {
                        if let Some(held_back) = failed.allow() {
                            tracing::warn!(%container, %error, held_back, "A client of a published port was not accepted");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Room first: who cannot be joined yet stays in the queue. Cancel-safe.
async fn accept(inward: &Inward, listener: &TcpListener) -> (Room, io::Result<(TcpStream, SocketAddr)>) {
    let room = inward.room().await;
    (room, listener.accept().await)
}
