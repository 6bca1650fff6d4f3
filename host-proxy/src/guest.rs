//! The door into the guest: how the rest of the host reaches a port of the running machine, and nothing about which
//! machine or which transport that is. The daemon implements it over vsock; `docker` and tests use it.

use std::{future::Future, io, pin::Pin, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::docker::known::Known;
use crate::shares::Shares;

/// A two-way byte stream with half-close: `poll_shutdown` ends the sending side only, a read of 0 bytes is the peer's
/// end of sending, and a reset is an error. Written bytes must move on by themselves: nobody calls `poll_flush`.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// A [`Stream`] of any origin.
pub type BoxedStream = Box<dyn Stream>;

/// A future without a name, as an object-safe trait has to return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens connections to vsock ports of the guest.
pub trait GuestDialer: Send + Sync + 'static {
    /// Connects to `port` (see `lighter_protocol::ports`), waiting first until the guest serves it, and starting its machine
    /// if there is none.
    ///
    /// # Errors
    /// When the machine is not running, did not become ready in time, or nothing listens there. The error's text is
    /// shown to the user as the cause.
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>>;

    /// What may be answered without the guest just now, because no machine runs; `None` sends everything to the guest.
    fn remembered(&self) -> Option<Arc<Known>> {
        None
    }

    /// Paths on this computer under which clients reach this engine's API.
    fn own_sockets(&self) -> &[String] {
        &[]
    }

    /// Which folders of this computer the machine's containers may see, waiting for the machine and starting one as
    /// [`GuestDialer::dial`] does.
    ///
    /// # Errors
    /// As those of [`GuestDialer::dial`].
    fn shares(&self) -> BoxFuture<'_, io::Result<Arc<Shares>>> {
        Box::pin(async { Ok(Arc::new(Shares::none())) })
    }
}
