//! The second virtio transport: another process (QEMU) owns the guest's CPUs and the device's registers, and asks us over a
//! unix socket to serve its queues (vhost-user protocol, <https://qemu-project.gitlab.io/qemu/interop/vhost-user.html>).
//! Called by the software engine; the devices are the same as behind our own MMIO transport.
//!
//! Each device has one socket and one thread that blocks in reading it, because the `vhost` crate does; the queues
//! themselves are served by the device's own tasks.

mod backend;
mod early;
mod memory_table;
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use vhost::vhost_user::{BackendReqHandler, Error};

use self::backend::Backend;
use crate::virtio::device::VirtioDevice;

/// Which part of a device a frontend knows about.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// How many of the device's queues the frontend hands to us, counted from the first.
    pub queues: usize,
    /// Whether the frontend asks us for the configuration space.
    pub config: bool,
}

/// A device's connection ended by something else than its closing.
#[derive(Debug, thiserror::Error)]
#[error("Device {device} lost its vhost-user connection")]
pub struct TransportError {
    /// The device's name.
    pub device: &'static str,
    /// What was wrong with the last message.
    #[source]
    pub source: Error,
}

/// What the control thread tells its owner.
#[derive(Debug)]
pub enum Event {
    /// The guest's driver has taken the device up. Comes again after each reset of the device.
    Running,
    /// The connection is closed, cleanly or not, and the device is reset. The last event.
    Ended(Result<(), TransportError>),
}

/// Serves `device` on the socket that `connect` opens, until the other side closes it; there `connect` may wait for the
/// frontend, and its failure is a frontend that has gone. `watch` is called on the control thread and must return
/// quickly. Must be called inside a tokio runtime. Fails if the system gives us no thread.
pub fn serve(
    device: Box<dyn VirtioDevice>,
    connect: impl FnOnce() -> io::Result<UnixStream> + Send + 'static,
    offer: Offer,
    watch: impl Fn(Event) + Send + Sync + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = device.name();
    let offer = Offer { queues: offer.queues.min(device.queue_sizes().len()), ..offer };
    let watch: Watch = Arc::new(watch);
    let backend = Arc::new(Mutex::new(Backend::new(device, offer, Handle::current(), Arc::clone(&watch))));
    std::thread::Builder::new().name(format!("vhost-{name}")).spawn(move || {
        // A panic has been reported by now, and whatever it left half-done is reset below; the machine must hear of it.
        let result = catch_unwind(AssertUnwindSafe(|| connect().map_or(Ok(()), |socket| converse(socket, &backend))))
            .unwrap_or_else(|_| Err(Error::ReqHandlerError(io::Error::other("the device panicked"))));
        backend.lock().unwrap_or_else(PoisonError::into_inner).stop();
        watch(Event::Ended(result.map_err(|source| TransportError { device: name, source })));
    })
}

type Watch = Arc<dyn Fn(Event) + Send + Sync>;

fn converse(socket: UnixStream, backend: &Arc<Mutex<Backend>>) -> Result<(), Error> {
    let ahead = socket.try_clone().map_err(Error::ReqHandlerError)?;
    let mut requests = BackendReqHandler::from_stream(socket, Arc::clone(backend));
    loop {
        let lock = || backend.lock().unwrap_or_else(PoisonError::into_inner);
        // What goes wrong here goes wrong again below, where it is judged.
        if !lock().has_features()
            && early::take(&ahead, &mut |index, choice| early::enable(&mut lock(), index, choice))
                .is_ok_and(|taken| taken)
        {
            continue;
        }
        match requests.handle_request() {
            Ok(()) => {}
            Err(Error::SocketRetry(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // The frontend's process ended, perhaps in the middle of a message or of our answer.
            Err(Error::Disconnected | Error::SocketBroken(_) | Error::PartialMessage) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
