//! [`GuestStream`]: a connection to the guest as the host side's tasks see it. Bytes move between the task's buffers and the
//! connection's under the muxer's lock; the ring side is `service`'s.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::endpoint::Ended;
use super::handle::Shared;
use super::muxer::Id;

/// A byte stream to or from the guest. Reading ends with 0 bytes when the guest shuts its sending side down, and fails with
/// [`io::ErrorKind::ConnectionReset`] after a reset. Writing waits for the guest's credit. `shutdown` ends the sending side
/// after what was written; dropping the stream ends both, by a reset if received bytes were left unread.
pub struct GuestStream {
    id: Id,
    shared: Arc<Shared>,
}

impl GuestStream {
    pub(super) fn new(id: Id, shared: Arc<Shared>) -> Self {
        Self { id, shared }
    }
}

impl std::fmt::Debug for GuestStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestStream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AsyncRead for GuestStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let want = buf.remaining();
        if want == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.shared.with(|muxer| muxer.read(self.id, want, cx.waker(), |bytes| buf.put_slice(bytes))) {
            None => Poll::Pending,
            Some(Ok(()) | Err(Ended::Clean)) => Poll::Ready(Ok(())),
            Some(Err(Ended::Reset)) => Poll::Ready(Err(reset())),
        }
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        settled(self.shared.with(|muxer| muxer.write(self.id, data, cx.waker())))
    }

    /// One call for head and body of a message. Like `poll_write` for as many of the buffers as fit.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.shared.with(|muxer| {
            let mut total = 0;
            for part in parts.iter().filter(|part| !part.is_empty()) {
                match muxer.write(self.id, part, cx.waker()) {
                    Some(Ok(count)) if count == part.len() => total += count,
                    Some(Ok(count)) => return Some(Ok(total + count)),
                    _ if total > 0 => return Some(Ok(total)),
                    stopped => return stopped,
                }
            }
            Some(Ok(total))
        });
        settled(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Written bytes are on their way already; nothing is held back.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the sending side. Like a socket's, it does not wait until the guest has taken the last byte.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|muxer| muxer.finish(self.id));
        Poll::Ready(Ok(()))
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        self.shared.with(|muxer| muxer.release(self.id, Instant::now()));
    }
}

fn settled(written: Option<Result<usize, Ended>>) -> Poll<io::Result<usize>> {
    match written {
        None => Poll::Pending,
        Some(Ok(count)) => Poll::Ready(Ok(count)),
        Some(Err(Ended::Clean)) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        Some(Err(Ended::Reset)) => Poll::Ready(Err(reset())),
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "The guest reset the connection")
}
