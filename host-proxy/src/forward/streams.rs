//! Accepts clients of one published TCP port and joins each with the container. Called by `forward`.
//!
//! A client that has come and finds no room waits here, the next ones in the system's queue; a port to which nobody comes takes
//! no room.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lighter_vmm::rate_limit::RateLimit;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::net::{Inward, Room};

/// Most clients of one listener, of which `-p 8080:80` has two, so that one port does not starve the others.
const MOST: usize = 512;
/// After a failed accept: out of descriptors, the next one fails at once as well.
const PAUSE: Duration = Duration::from_millis(100);

/// One port's clients.
pub struct Streams<'a> {
    inward: Inward,
    listener: TcpListener,
    container: SocketAddr,
    joined: &'a mut JoinSet<()>,
    /// Has come, and is not joined yet.
    waiting: Option<(TcpStream, SocketAddr)>,
    failed: RateLimit,
}

impl<'a> Streams<'a> {
    /// Those who come to `listener` mean `container`. Their connections live in `joined`.
    pub fn new(inward: Inward, listener: TcpListener, container: SocketAddr, joined: &'a mut JoinSet<()>) -> Self {
        Self { inward, listener, container, joined, waiting: None, failed: RateLimit::default() }
    }

    /// For ever.
    pub async fn serve(mut self) {
        loop {
            let Self { inward, listener, container, joined, waiting, failed } = &mut self;
            tokio::select! {
                Some(_) = joined.join_next() => {}
                next = next(inward, listener, waiting), if joined.len() < MOST => match next {
                    Ok((room, client, peer)) => {
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

/// The next client, and room for it. Cancel-safe: who has come stays in `waiting`.
async fn next(
    inward: &Inward,
    listener: &TcpListener,
    waiting: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<(Room, TcpStream, SocketAddr)> {
    if waiting.is_none() {
        *waiting = Some(listener.accept().await?);
    }
    let room = inward.room().await;
    let (client, peer) = waiting.take().ok_or(io::ErrorKind::NotFound)?;
    Ok((room, client, peer))
}
