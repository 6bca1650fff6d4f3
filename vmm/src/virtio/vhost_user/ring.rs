//! One vring as the frontend sets it up piece by piece, and the bridge from its two event descriptors to our own signals:
//! kick descriptor → [`Kick`], [`Interrupt`] → call descriptor. Called by `backend`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, ioctl_fionbio};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use vm_memory::{Bytes, GuestAddress};

use crate::kick::{Bell, Kick};
use crate::memory::GuestMemory;
use crate::sys::event::readable;
use crate::virtio::device::Interrupt;
use crate::virtio::queue::QueueLayout;

/// Offset of `idx` in the used ring (virtio 1.2 §2.7.8).
const USED_INDEX: u64 = 2;

/// What the frontend has told us about one vring so far.
#[derive(Default)]
pub struct Ring {
    /// Size and addresses; the addresses are the guest's.
    pub layout: QueueLayout,
    /// Whether the addresses have been given.
    pub placed: bool,
    /// Whether the frontend lets us touch the ring.
    pub enabled: bool,
    /// Ring position to start from, or, after a stop, to go on from.
    pub base: u16,
    /// The doorbell; its presence is what "started" means in the vhost-user specification.
    pub kick: Option<OwnedFd>,
}

impl Ring {
    /// Whether everything is there that a queue needs to be served.
    pub fn is_ready(&self) -> bool {
        self.enabled && self.placed && self.layout.size > 0 && self.kick.is_some()
    }

    /// Where a device that was stopped left off. Its queues are gone with it, but what it has finished is in the used ring;
    /// what it had taken and not finished will be offered again.
    pub fn position(&self, memory: &GuestMemory) -> Option<u16> {
        let at = self.layout.used.checked_add(USED_INDEX)?;
        memory.read_obj(GuestAddress(at)).ok().map(u16::from_le)
    }
}

/// A kick descriptor on which a device's own thread sleeps, and a second one by which we wake it: what the frontend may read
/// from the first is not ours.
#[derive(Debug)]
pub struct KickBell {
    theirs: OwnedFd,
    ours: OwnedFd,
}

impl KickBell {
    /// Sleeps on a copy of `descriptor`.
    pub fn new(descriptor: &OwnedFd) -> io::Result<Self> {
        let theirs = descriptor.try_clone()?;
        ioctl_fionbio(&theirs, true)?;
        Ok(Self { theirs, ours: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

impl Bell for KickBell {
    fn ring(&self) {
        // A full counter is a pending signal.
        let _ = rustix::io::write(&self.ours, &1u64.to_ne_bytes());
    }

    fn sleep(&self) -> bool {
        let mut fds = [PollFd::new(&self.theirs, PollFlags::IN), PollFd::new(&self.ours, PollFlags::IN)];
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return false,
                Ok(_) => {}
            }
            if !fds[1].revents().is_empty() {
                let _ = rustix::io::read(&self.ours, &mut [0u8; 8]);
                return true;
            }
            match rustix::io::read(&self.theirs, &mut [0u8; 8]) {
                Ok(1..) => return true,
                Err(Errno::INTR | Errno::AGAIN) => {}
                // End of file or an error: not an event descriptor.
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

/// Forwards a kick descriptor to a [`Kick`] until it is dropped.
pub struct Doorbell {
    task: JoinHandle<()>,
}

impl Doorbell {
    /// Starts to forward. Must be called inside a tokio runtime. The first wake-up comes at once, for whatever was offered
    /// before we listened.
    pub fn new(descriptor: &OwnedFd, kick: Arc<Kick>) -> io::Result<Self> {
        let descriptor = descriptor.try_clone()?;
        ioctl_fionbio(&descriptor, true)?;
        let descriptor = readable(descriptor)?;
        kick.signal();
        Ok(Self { task: tokio::spawn(forward(descriptor, kick)) })
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(descriptor: AsyncFd<OwnedFd>, kick: Arc<Kick>) {
    loop {
        let Ok(mut ready) = descriptor.readable().await else { return };
        let drained = ready.try_io(|descriptor| Ok(rustix::io::read(descriptor, &mut [0u8; 8])?));
        match drained {
            Ok(Ok(1..)) => kick.signal(),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // End of file or an error: not an event descriptor. Nobody will ring any more.
            Ok(_) => return,
            Err(_would_block) => {}
        }
    }
}

/// The call and error descriptors of all vrings of a device. Call descriptors change while the device runs.
pub struct CallInterrupt {
    device: &'static str,
    calls: Vec<Mutex<Option<OwnedFd>>>,
    errors: Vec<Mutex<Option<OwnedFd>>>,
}

impl CallInterrupt {
    /// For a device with `queues` vrings.
    pub fn new(device: &'static str, queues: usize) -> Self {
        let none = || std::iter::repeat_with(|| Mutex::new(None)).take(queues).collect();
        Self { device, calls: none(), errors: none() }
    }

    /// Replaces the call descriptor of vring `index`; without one, the frontend polls.
    pub fn set_call(&self, index: usize, descriptor: Option<OwnedFd>) -> io::Result<()> {
        Self::replace(&self.calls, index, descriptor)
    }

    /// Replaces the descriptor that tells the frontend of a broken vring.
    pub fn set_error(&self, index: usize, descriptor: Option<OwnedFd>) -> io::Result<()> {
        Self::replace(&self.errors, index, descriptor)
    }

    fn replace(slots: &[Mutex<Option<OwnedFd>>], index: usize, descriptor: Option<OwnedFd>) -> io::Result<()> {
        if let Some(descriptor) = &descriptor {
            // A device must never block in an interrupt.
            ioctl_fionbio(descriptor, true)?;
        }
        let slot = slots.get(index).ok_or(Errno::INVAL)?;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = descriptor;
        Ok(())
    }

    fn signal(&self, slot: Option<&Mutex<Option<OwnedFd>>>) {
        let Some(slot) = slot else { return };
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(descriptor) = &*slot else { return };
        match rustix::io::write(descriptor, &1u64.to_ne_bytes()) {
            // A full counter is a pending signal.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => tracing::debug!(device = self.device, %error, "could not signal the frontend"),
        }
    }
}

impl Interrupt for CallInterrupt {
    fn queue(&self, index: u16) {
        self.signal(self.calls.get(usize::from(index)));
    }

    fn config(&self) {
        // Needs the backend's own channel to the frontend, which is not offered: no device here changes its configuration.
        tracing::debug!(device = self.device, "configuration change is not announced over vhost-user");
    }

    fn needs_reset(&self) {
        for slot in &self.errors {
            self.signal(Some(slot));
        }
    }
}

#[cfg(test)]
mod bell_tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_behind_a_bell_hears_the_frontend_and_us() {
        let theirs = eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor");
        let kick = Arc::new(Kick::behind(Box::new(KickBell::new(&theirs).expect("a bell"))));
        let waits = |kick: &Arc<Kick>| {
            let kick = Arc::clone(kick);
            std::thread::spawn(move || kick.wait())
        };
        let waiting = waits(&kick);
        rustix::io::write(&theirs, &1u64.to_ne_bytes()).expect("the frontend rings");
        waiting.join().expect("woken by the frontend");
        let waiting = waits(&kick);
        std::thread::sleep(Duration::from_millis(20));
        kick.signal();
        waiting.join().expect("woken by us while it slept");
        kick.signal();
        kick.wait();
    }

    #[test]
    fn a_kick_descriptor_that_has_ended_leaves_us_able_to_wake() {
        let (theirs, other) = rustix::pipe::pipe().expect("a pipe");
        drop(other);
        let kick = Arc::new(Kick::behind(Box::new(KickBell::new(&theirs).expect("a bell"))));
        let waiting = {
            let kick = Arc::clone(&kick);
            std::thread::spawn(move || kick.wait())
        };
        std::thread::sleep(Duration::from_millis(20));
        kick.signal();
        waiting.join().expect("woken by us");
    }
}
