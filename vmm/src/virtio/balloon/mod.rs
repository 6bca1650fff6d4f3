//! Memory balloon (virtio 1.2 §5.5) for one thing: free page reporting. The guest names blocks of memory that it has freed, and
//! the host takes what is behind them. Nothing is ever asked of the guest: the balloon's target stays 0 pages. Built by `machine`
//! where the system can take memory back; a thread of its own does that ([`reports`]).
//!
//! §5.5.2 numbers the queues 0 inflateq, 1 deflateq, 2 statsq, 3 free_page_vq, 4 reporting_vq, and says that the last three
//! exist only with their features. Linux (6.12, `drivers/virtio/virtio_balloon.c` and `vm_find_vqs` in `virtio_mmio.c`) gives
//! numbers to queues that exist and to no others, as every device that it meets does; so does this one, whose reporting_vq is 2.

mod reports;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use self::reports::{Limits, Reports};
use super::device::{ActivateError, Activation, VirtioDevice};
use super::queue::Virtqueue;
use super::service::{Service, Warnings};
use crate::kick::Kick;
use crate::memory::GiveBack;

/// VIRTIO_BALLOON_F_PAGE_REPORTING (§5.5.3)
const F_PAGE_REPORTING: u64 = 1 << 5;
/// Inflate, deflate, reporting. Linux reports 32 blocks at a time, each with a descriptor, and refuses a shorter queue.
const QUEUE_SIZES: [u16; 3] = [8, 8, 32];

/// The device.
pub struct Balloon {
    give_back: GiveBack,
    /// Outlives resets: a guest can cause a warning as often as it likes.
    limits: Arc<Mutex<Limits>>,
    warnings: Warnings,
    running: Option<Running>,
}

struct Running {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    kick: Arc<Kick>,
    _idle: [Service; 2],
}

impl Balloon {
    /// A device that gives memory back in this way.
    pub fn new(give_back: GiveBack) -> Self {
        Self { give_back, limits: Arc::default(), warnings: Warnings::default(), running: None }
    }
}

impl VirtioDevice for Balloon {
    fn name(&self) -> &'static str {
        "balloon"
    }

    fn device_type(&self) -> u32 {
        5
    }

    /// Without PAGE_POISON, the driver takes reported memory for uninitialised (§5.5.6.7.1), so that we may do with it as we like.
    fn features(&self) -> u64 {
        F_PAGE_REPORTING
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `num_pages` and `actual` (§5.5.4), both 0 for ever: no page is wanted, so none is given.
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        let failed = |reason| ActivateError { device: "balloon", reason };
        let Ok([inflate, deflate, reporting]) = <[Virtqueue; 3]>::try_from(activation.queues) else {
            return Err(failed("it needs exactly three queues".to_owned()));
        };
        let (stop, kick) = (Arc::new(AtomicBool::new(false)), Arc::clone(reporting.kick()));
        let reports = Reports {
            queue: reporting,
            interrupt: Arc::clone(&activation.interrupt),
            give_back: self.give_back,
            limits: Arc::clone(&self.limits),
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("lighter-balloon".to_owned()).spawn(move || reports.run());
        let thread = thread.map_err(|error| failed(format!("no thread for its reports: {error}")))?;
        // Pages in a balloon that nobody wanted stay the guest's own: they are neither read nor taken.
        let idle = |queue| {
            let answer = Box::new(|_: &Virtqueue, _: &super::queue::Chain| Ok(0));
            Service::start("balloon", queue, Arc::clone(&activation.interrupt), Arc::clone(&self.warnings), answer)
        };
        self.running = Some(Running { thread, stop, kick, _idle: [idle(inflate), idle(deflate)] });
        Ok(())
    }

    /// Waits for the block in hand.
    fn reset(&mut self) {
        let Some(Running { thread, stop, kick, .. }) = self.running.take() else { return };
        stop.store(true, Ordering::Release);
        kick.signal();
        if thread.join().is_err() {
            tracing::error!("The thread of the balloon panicked");
        }
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        self.reset();
    }
}
