//! Doorbells: a store to a virtio notify register signals an eventfd inside the kernel, without an exit to this process,
//! and a task turns the eventfd into a [`Kick`]. The only file that knows eventfds. Called by `vm`.

use std::io::Error;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use kvm_ioctls::IoEventAddress;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::vm::KvmVm;
use crate::kick::Kick;

/// A doorbell in service; dropping it gives the address back to the bus.
pub struct Doorbell {
    vm: Arc<KvmVm>,
    event: Arc<EventFd>,
    address: u64,
    value: u32,
    task: tokio::task::JoinHandle<()>,
}

/// An eventfd as tokio wants it.
struct Readable(Arc<EventFd>);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes stores of the 32-bit `value` to `address` signal `kick`. Called inside a tokio runtime.
pub fn attach(vm: Arc<KvmVm>, address: u64, value: u32, kick: Arc<Kick>) -> Result<Doorbell, Error> {
    let event = Arc::new(EventFd::new(EFD_NONBLOCK)?);
    let inner = Readable(Arc::clone(&event));
    // SAFETY: `inner` keeps the eventfd open, under the same number, for as long as the registration lives.
    let readable = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }?;
    vm.fd()
        .register_ioevent(&event, &IoEventAddress::Mmio(address), value)
        .map_err(|error| Error::from_raw_os_error(error.errno()))?;
    let task = tokio::spawn(async move {
        // Ends when the runtime does, or by `abort` below.
        while let Ok(mut ready) = readable.readable().await {
            ready.clear_ready();
            // The count does not matter, and nothing to read means that the signal was already taken.
            if readable.get_ref().0.read().is_ok() {
                kick.signal();
            }
        }
    });
    Ok(Doorbell { vm, event, address, value, task })
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.task.abort();
        let address = IoEventAddress::Mmio(self.address);
        if let Err(error) = self.vm.fd().unregister_ioevent(&self.event, &address, self.value) {
            tracing::warn!(%error, address = self.address, "a doorbell could not be given back");
        }
    }
}
