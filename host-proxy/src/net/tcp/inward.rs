//! A connection into the guest: the same flow as one out of it, begun from this side. Called by `net::inward`, with a client
//! of the host that has been accepted already.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::flow::{Far, Flow};
use super::inbox::Inbox;
use super::open::prepared;
use super::stack::{Buffers, Stack};
use super::stock::Stock;
use crate::net::datagram::Egress;

/// Connects to `ends.0` in the guest as `ends.1` and moves bytes until both sides have ended or one is broken.
pub async fn inward(
    client: TcpStream,
    inbox: Inbox,
    ends: (SocketAddr, SocketAddr),
    buffers: Buffers,
    (egress, stock): (&Egress, &Stock),
) {
    let seed = getrandom::u64().unwrap_or_else(|_| ends.1.port().into());
    let stack = Stack::towards(ends.0, ends.1, buffers, egress, stock, seed);
    let client = Client { stream: prepared(client), told: false };
    Flow::new(stack, client, inbox).run(egress).await;
}

/// Ends a client's connection so that it hears of a failure.
pub fn reset(mut client: TcpStream) {
    Far::reset(&mut client);
}

/// A client that is reset, and not just told of an end, unless the container's end has come: who was cut off must not take what
/// it has got for all there is.
struct Client {
    stream: TcpStream,
    told: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.told {
            self.reset();
        }
    }
}

impl Far for Client {
    fn reset(&mut self) {
        self.stream.reset();
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let client = self.get_mut();
        client.told = true;
        Pin::new(&mut client.stream).poll_shutdown(cx)
    }
}
