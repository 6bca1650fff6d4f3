//! The vsock device as a transport sees it: queues rx, tx and event (virtio 1.2 §5.10.2), the context id in its
//! configuration space, and a [`Service`] while a driver is there.

use std::sync::Arc;

use super::handle::{Shared, VsockHandle};
use super::muxer::Muxer;
use super::service::Service;
use crate::virtio::device::{ActivateError, Activation, VirtioDevice};

/// `VIRTIO_ID_VSOCK`.
const DEVICE_TYPE: u32 = 19;
/// `VIRTIO_VSOCK_F_STREAM`.
const F_STREAM: u64 = 1 << 0;
/// rx, tx, event. Linux fills rx with 4 KiB buffers: 1 MiB in flight.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// The device. Dropping it ends every connection for good.
pub struct Vsock {
    guest_cid: u64,
    shared: Arc<Shared>,
    service: Option<Arc<Service>>,
}

impl Vsock {
    /// The device for a guest with context id `guest_cid`, and the host side's handle to it.
    pub fn new(guest_cid: u64) -> (Self, VsockHandle) {
        let shared = Shared::new(guest_cid);
        (Self { guest_cid, shared: Arc::clone(&shared), service: None }, VsockHandle(shared))
    }

    fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop();
        }
    }
}

impl VirtioDevice for Vsock {
    fn name(&self) -> &'static str {
        "vsock"
    }

    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn features(&self) -> u64 {
        F_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = self.guest_cid.to_le_bytes();
        let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or_default();
        let count = rest.len().min(data.len());
        data[..count].copy_from_slice(&rest[..count]);
    }

    /// Takes rx and tx. A third queue, event, is left alone: a guest here is never moved to another host. With vhost-user it
    /// stays in QEMU, which gives us two.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        let mut queues = activation.queues.into_iter();
        let (Some(rx), Some(tx)) = (queues.next(), queues.next()) else {
            return Err(ActivateError { device: self.name(), reason: "it needs the queues rx and tx".into() });
        };
        let service = Service::new(rx, tx, Arc::clone(&self.shared), activation.interrupt);
        tokio::spawn(Arc::clone(&service).run());
        self.service = Some(service);
        Ok(())
    }

    fn reset(&mut self) {
        self.stop();
        self.shared.with(Muxer::reset);
    }
}

impl Drop for Vsock {
    fn drop(&mut self) {
        self.stop();
        self.shared.with(Muxer::close);
    }
}
