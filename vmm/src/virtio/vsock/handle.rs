//! What the host side holds: [`VsockHandle`] to dial and listen with, [`Incoming`] to accept from. Behind both lies one
//! lock around the muxer; tasks are woken after it is let go.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::connection::End;
use super::host::ConnectError;
use super::muxer::Muxer;
use super::stream::GuestStream;
use crate::kick::Kick;

/// How long a dial waits for a driver and for the guest's answer together. Its kernel answers by itself, so within a moment; but
/// one on an emulated processor, on a host that is busy with others, has been silent for ten seconds.
const DIAL_DEADLINE: Duration = Duration::from_secs(30);

/// The guest could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// There is no guest, or its vsock driver has not come up.
    #[error("The guest is not running, or its vsock driver is not up")]
    NotRunning,
    /// The guest answered that nobody listens there.
    #[error("Nothing listens on vsock port {port} in the guest")]
    Refused {
        /// The guest's port.
        port: u32,
    },
    /// The guest, or its driver, was reset meanwhile.
    #[error("The guest was reset while it was being dialled")]
    Reset,
    /// The guest's driver took the request, but no answer came in time.
    #[error("The guest did not answer on vsock port {port} in time")]
    TimedOut {
        /// The guest's port.
        port: u32,
    },
    /// The device holds as many connections as it can.
    #[error("Too many vsock connections to the guest are open ({limit})")]
    TooMany {
        /// How many may be open.
        limit: usize,
    },
}

struct Inner {
    muxer: Muxer,
    /// Wakes the task that serves the rings, while there is one.
    service: Option<Arc<Kick>>,
}

/// The muxer as device, handles and streams share it.
pub(super) struct Shared(Mutex<Inner>);

impl Shared {
    pub fn new(guest_cid: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { muxer: Muxer::new(guest_cid), service: None })))
    }

    /// Runs a call of the host side; then wakes who has to be woken, the serving task among them.
    pub fn with<R>(&self, call: impl FnOnce(&mut Muxer) -> R) -> R {
        let mut inner = self.lock();
        let outcome = call(&mut inner.muxer);
        let wakes = inner.muxer.take_wakes();
        let service = if inner.muxer.take_attention() { inner.service.clone() } else { None };
        drop(inner);
        wakes.into_iter().for_each(std::task::Waker::wake);
        if let Some(kick) = service {
            kick.signal();
        }
        outcome
    }

    /// Runs a step of the serving task, which looks for output by itself; wakes nobody (see [`wake`](Self::wake)).
    pub fn serve<R>(&self, step: impl FnOnce(&mut Muxer) -> R) -> R {
        let mut inner = self.lock();
        let outcome = step(&mut inner.muxer);
        inner.muxer.take_attention();
        outcome
    }

    /// Wakes the tasks that the steps since the last call concern.
    pub fn wake(&self) {
        let wakes = self.lock().muxer.take_wakes();
        wakes.into_iter().for_each(std::task::Waker::wake);
    }

    /// Names the task that serves the rings from now on.
    pub fn set_service(&self, kick: Option<Arc<Kick>>) {
        self.lock().service = kick;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // No call of the muxer panics half-way on purpose; if one does, other connections are not to blame.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dials the guest and listens for it. Cheap to clone; outlives the machine, whose end makes every call fail.
#[derive(Clone)]
pub struct VsockHandle(pub(super) Arc<Shared>);

impl VsockHandle {
    /// Connects to guest port `port`. Waits for the driver if it is not up yet; gives up after 10 s in all.
    pub async fn dial(&self, port: u32) -> Result<GuestStream, DialError> {
        self.dial_within(port, DIAL_DEADLINE).await
    }

    /// [`dial`](Self::dial) with another deadline.
    pub async fn dial_within(&self, port: u32, deadline: Duration) -> Result<GuestStream, DialError> {
        let id = self.0.with(|muxer| muxer.connect(port)).map_err(|error| match error {
            ConnectError::Closed => DialError::NotRunning,
            ConnectError::Full => DialError::TooMany { limit: super::muxer::MAX_CONNECTIONS },
        })?;
        // Dropped on every way out but the last, which tells the guest that nobody waits any more.
        let stream = GuestStream::new(id, Arc::clone(&self.0));
        let answer = poll_fn(|cx| match self.0.with(|muxer| muxer.poll_connected(id, cx.waker())) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        });
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(End::Refused)) => Err(DialError::Refused { port }),
            Ok(Err(_)) if self.0.with(|muxer| muxer.is_closed()) => Err(DialError::NotRunning),
            Ok(Err(_)) => Err(DialError::Reset),
            Err(_) if self.0.with(|muxer| muxer.is_unsent(id)) => Err(DialError::NotRunning),
            Err(_) => Err(DialError::TimedOut { port }),
        }
    }

    /// Lets the guest connect to host port `port`; every port without a listener is refused. A second call for the same port
    /// takes it over: the first [`Incoming`] ends.
    pub fn listen(&self, port: u32) -> Incoming {
        let token = self.0.with(|muxer| muxer.listen(port));
        Incoming { port, token, shared: Arc::clone(&self.0) }
    }
}

/// Connections that the guest opens to one host port. Dropping it closes the port and resets what was not accepted.
pub struct Incoming {
    port: u32,
    token: u64,
    shared: Arc<Shared>,
}

impl Incoming {
    /// The next connection; `None` once the machine is gone or the port was taken over. Cancel-safe.
    pub async fn accept(&mut self) -> Option<GuestStream> {
        let id = poll_fn(|cx| match self.shared.with(|muxer| muxer.accept(self.port, self.token, cx.waker())) {
            Some(id) => Poll::Ready(id),
            None => Poll::Pending,
        });
        Some(GuestStream::new(id.await?, Arc::clone(&self.shared)))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.with(|muxer| muxer.unlisten(self.port, self.token));
    }
}
