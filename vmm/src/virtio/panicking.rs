//! A device whose task or thread panics serves nothing any more: this tells the driver so (DEVICE_NEEDS_RESET and a
//! configuration change interrupt, virtio 1.2 §2.1.2), instead of leaving it to wait for ever. Held by whatever serves a
//! device's queues, while it does.

use std::sync::{LazyLock, Mutex, PoisonError};

use super::device::Interrupt;
use crate::rate_limit::RateLimit;

/// A guest that has found a way to make a device panic can reset it and do it again.
static WARNINGS: LazyLock<Mutex<RateLimit>> = LazyLock::new(Mutex::default);

/// Does nothing unless it is dropped by a panic.
pub(crate) struct Panicking<'a> {
    device: &'static str,
    interrupt: &'a dyn Interrupt,
}

impl<'a> Panicking<'a> {
    /// Tells through `interrupt` if the caller panics. To be dropped before the lock that a reset of the device waits for, so
    /// that the word cannot hit the activation that comes next.
    pub fn tells(device: &'static str, interrupt: &'a dyn Interrupt) -> Self {
        Self { device, interrupt }
    }
}

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.interrupt.needs_reset();
        if let Some(suppressed) = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).allow() {
            let device = self.device;
            tracing::error!(
                device,
                suppressed,
                "A device panicked, which is a defect of lighter: it stops until it is reset"
            );
        }
    }
}
