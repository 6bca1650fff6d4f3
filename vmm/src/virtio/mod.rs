//! Virtio 1.2 devices, written against [`device::VirtioDevice`] and [`queue::Virtqueue`] alone, so that the same code
//! serves our own MMIO transport and QEMU over vhost-user.

pub mod balloon;
pub mod blk;
pub mod console;
pub mod device;
pub mod fs;
pub mod mmio;
#[cfg(test)]
pub(crate) mod mock;
pub mod net;
pub(crate) mod panicking;
pub mod queue;
pub mod rng;
mod service;
pub mod vsock;

pub use device::{Activation, Interrupt, VirtioDevice};
pub use queue::{Chain, QueueConfig, QueueError, QueueLayout, Virtqueue};
