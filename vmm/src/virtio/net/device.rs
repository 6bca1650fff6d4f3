//! The network device as a transport sees it: queues receive and transmit (virtio 1.2 §5.1.2), address, link status and MTU
//! in its configuration space, and a [`Service`] while a driver is there.

use std::sync::Arc;

use super::header::{
    F_CSUM, F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6, F_MAC, F_MRG_RXBUF, F_MTU, F_STATUS,
};
use super::link::GuestEnd;
use super::service::Service;
use crate::virtio::device::{ActivateError, Activation, VirtioDevice};

/// `VIRTIO_ID_NET`.
const DEVICE_TYPE: u32 = 1;
/// Receive, transmit. A frame of 64 KiB takes some twenty of Linux's receive buffers.
const QUEUE_SIZES: [u16; 2] = [1024, 256];
/// `VIRTIO_NET_S_LINK_UP`.
const LINK_UP: u16 = 1;

/// The device. Dropping it ends the link.
pub struct Net {
    mac: [u8; 6],
    mtu: u16,
    guest: GuestEnd,
    service: Option<Arc<Service>>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("mac", &self.mac).field("mtu", &self.mtu).finish_non_exhaustive()
    }
}

impl Net {
    pub(super) fn new(mac: [u8; 6], mtu: u16, guest: GuestEnd) -> Self {
        Self { mac, mtu: mtu.min(super::LARGEST_MTU), guest, service: None }
    }

    /// `struct virtio_net_config`: address, status, number of queue pairs, MTU.
    fn config(&self) -> [u8; 12] {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.mac);
        config[6..8].copy_from_slice(&LINK_UP.to_le_bytes());
        config[8..10].copy_from_slice(&1u16.to_le_bytes());
        config[10..].copy_from_slice(&self.mtu.to_le_bytes());
        config
    }

    fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop();
        }
    }
}

impl VirtioDevice for Net {
    fn name(&self) -> &'static str {
        "net"
    }

    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn features(&self) -> u64 {
        F_MAC
            | F_MTU
            | F_STATUS
            | F_CSUM
            | F_GUEST_CSUM
            | F_HOST_TSO4
            | F_HOST_TSO6
            | F_GUEST_TSO4
            | F_GUEST_TSO6
            | F_MRG_RXBUF
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = self.config();
        let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or_default();
        let count = rest.len().min(data.len());
        data[..count].copy_from_slice(&rest[..count]);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.stop();
        let mut queues = activation.queues.into_iter();
        let (Some(rx), Some(tx)) = (queues.next(), queues.next()) else {
            return Err(ActivateError {
                device: self.name(),
                reason: "it needs a receive and a transmit queue".into(),
            });
        };
        let service = Service::new(rx, tx, activation.features, self.guest.clone(), activation.interrupt);
        tokio::spawn(Arc::clone(&service).run());
        self.service = Some(service);
        Ok(())
    }

    fn reset(&mut self) {
        self.stop();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop();
        self.guest.close();
    }
}
