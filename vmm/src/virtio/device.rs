//! What a virtio device is to a transport: it declares itself, gets its queues when the driver is ready, and gives them up
//! at reset. The transport owns negotiation, queue set-up and interrupts.

use std::sync::Arc;

use super::queue::Virtqueue;
use crate::dax::{Region, Window};
use crate::memory::GuestMemory;

/// How a device tells the driver something (virtio 1.2 §2.3, §2.7.10).
pub trait Interrupt: Send + Sync {
    /// Used buffers are in queue `index`.
    fn queue(&self, index: u16);
    /// The configuration space changed.
    fn config(&self);
    /// The device cannot go on until it is reset (DEVICE_NEEDS_RESET); called once a queue is found broken.
    fn needs_reset(&self);
}

/// What a device gets when the driver sets DRIVER_OK.
pub struct Activation {
    /// All of guest RAM.
    pub memory: GuestMemory,
    /// One per declared queue, in order; already checked and ready.
    pub queues: Vec<Virtqueue>,
    /// The negotiated feature bits.
    pub features: u64,
    /// For configuration changes and `needs_reset`; used-buffer interrupts go through each [`Virtqueue`].
    pub interrupt: Arc<dyn Interrupt>,
}

/// A device could not start serving.
#[derive(Debug, thiserror::Error)]
#[error("Device {device} could not start: {reason}")]
pub struct ActivateError {
    /// The device's name.
    pub device: &'static str,
    /// What is missing.
    pub reason: String,
}

/// A virtio device. Methods are called from vCPU threads or transport tasks and must return quickly; work happens in the
/// tasks or threads that `activate` starts (a tokio runtime is entered when it is called).
pub trait VirtioDevice: Send {
    /// The device's name for logs and errors.
    fn name(&self) -> &'static str;
    /// Device type number (virtio 1.2 §5).
    fn device_type(&self) -> u32;
    /// Offered device-specific feature bits; the transport adds VERSION_1, EVENT_IDX, INDIRECT_DESC.
    fn features(&self) -> u64;
    /// Largest size of each queue, powers of two.
    fn queue_sizes(&self) -> &[u16];
    /// Whether each queue has a thread of its own that does nothing but [`Kick::wait`](crate::kick::Kick::wait) for it.
    fn waits_in_threads(&self) -> bool {
        false
    }
    /// How large a window onto files of the host it would fill, in bytes; asked once, by an engine that may have one to give.
    fn window_bytes(&self) -> Option<u64> {
        None
    }
    /// Takes that window, before the driver sees the device. Who gets none does without.
    fn take_window(&mut self, _window: Arc<Window>) {}
    /// Shared memory region number `id` (virtio 1.2 §2.10), if there is one.
    fn shared_memory(&self, _id: u32) -> Option<Region> {
        None
    }
    /// Reads configuration space. Bytes past its end stay as the caller set them (all zeroes).
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// Writes configuration space. Devices without writable fields ignore it.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}
    /// Takes the queues and starts serving them.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;
    /// Stops serving; when it returns no task of the device touches guest memory any more. Idempotent.
    fn reset(&mut self);
}
