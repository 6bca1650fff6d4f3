//! The link between the guest's network interface and the host's network stack: a bounded queue of frames each way. The stack
//! holds [`HostEnd`], the device [`GuestEnd`]. Frames that are sent while no driver is there wait, up to the bound.
//!
//! Bounds: [`QUEUED_FRAMES`] frames each way, so at most 16 MiB each way; whoever is slow makes the other wait. A guest
//! whose frames nobody takes finds its ring full, which is what a slow network looks like.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc};

use super::device::Net;
use super::header::{F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6, Offload};
use super::spares::Spares;
use crate::kick::Kick;

/// Most frames that wait in one direction.
pub const QUEUED_FRAMES: usize = 256;

/// One Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What is left to be done for it.
    pub offload: Offload,
    /// From the destination's address to the last byte of payload.
    pub bytes: Vec<u8>,
}

/// Which frames the guest's driver takes; nothing special while there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Frames whose checksum is still to be computed.
    pub partial_checksums: bool,
    /// Rows of TCP segments over IPv4.
    pub segments_v4: bool,
    /// Rows of TCP segments over IPv6.
    pub segments_v6: bool,
}

/// A frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// So many frames wait already.
    #[error("{QUEUED_FRAMES} frames wait for the guest already")]
    Full,
    /// The machine is gone.
    #[error("The guest's network device is gone")]
    Gone,
}

#[derive(Default)]
struct State {
    to_guest: VecDeque<Frame>,
    /// Wakes the task that serves the rings, while there is one.
    service: Option<Arc<Kick>>,
    /// Negotiated by the driver that is there.
    features: u64,
}

/// What both ends share.
struct Shared {
    state: Mutex<State>,
    /// One permit per frame that may still be queued towards the guest.
    room: Semaphore,
    spares: Spares,
}

impl Shared {
    fn push(&self, frame: Frame) {
        let mut state = self.lock();
        state.to_guest.push_back(frame);
        let service = state.service.clone();
        drop(state);
        if let Some(kick) = service {
            kick.signal();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A queue between two frames has no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device and the stack's end of its link. `mac` is the guest's address; `mtu` at most [`super::LARGEST_MTU`].
pub fn link(mac: [u8; 6], mtu: u16) -> (Net, HostEnd) {
    let (guest, host) = ends();
    (Net::new(mac, mtu, guest), host)
}

/// Both ends of a link without a device, for whoever plays the guest.
pub fn ends() -> (GuestEnd, HostEnd) {
    let (sender, frames) = mpsc::channel(QUEUED_FRAMES);
    let room = Semaphore::new(QUEUED_FRAMES);
    let shared = Arc::new(Shared { state: Mutex::default(), room, spares: Spares::default() });
    (GuestEnd { shared: Arc::clone(&shared), frames: sender }, HostEnd { frames, sender: FrameSender(shared) })
}

/// The guest's end.
#[derive(Clone)]
pub struct GuestEnd {
    shared: Arc<Shared>,
    /// Takes the guest's frames to the stack.
    pub frames: mpsc::Sender<Frame>,
}

impl GuestEnd {
    /// A driver that negotiated `features` is there; `wake` is signalled for every frame.
    pub fn plug(&self, wake: Arc<Kick>, features: u64) {
        let mut state = self.shared.lock();
        (state.service, state.features) = (Some(wake), features);
    }

    /// It is gone.
    pub fn unplug(&self) {
        let mut state = self.shared.lock();
        (state.service, state.features) = (None, 0);
    }

    /// The next frame for the guest.
    pub fn next_frame(&self) -> Option<Frame> {
        let frame = self.shared.lock().to_guest.pop_front()?;
        self.shared.room.add_permits(1);
        Some(frame)
    }

    /// Memory for the guest's frames, and for that of frames which have reached it.
    pub fn spares(&self) -> &Spares {
        &self.shared.spares
    }

    /// No driver will come any more.
    pub fn close(&self) {
        self.shared.room.close();
        self.shared.lock().to_guest.clear();
    }
}

/// The stack's end. Dropping it leaves the guest with a network on which nobody answers.
pub struct HostEnd {
    frames: mpsc::Receiver<Frame>,
    sender: FrameSender,
}

impl HostEnd {
    /// The guest's next frame; `None` when the device is gone. Cancel-safe.
    pub async fn receive(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// For whoever sends frames.
    pub fn sender(&self) -> FrameSender {
        self.sender.clone()
    }
}

/// Sends frames to the guest. Cheap to clone.
#[derive(Clone)]
pub struct FrameSender(Arc<Shared>);

impl FrameSender {
    /// Sends a frame, waiting for room. Cancel-safe: a frame is queued or not.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        self.0.room.acquire().await.map_err(|_| SendError::Gone)?.forget();
        self.0.push(frame);
        Ok(())
    }

    /// Sends a frame if there is room.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        let permit = self
            .0
            .room
            .try_acquire()
            .map_err(|_| if self.0.room.is_closed() { SendError::Gone } else { SendError::Full })?;
        permit.forget();
        self.0.push(frame);
        Ok(())
    }

    /// Memory for frames, and for that of the guest's frames which have been read.
    pub fn spares(&self) -> &Spares {
        &self.0.spares
    }

    /// What may be sent now. A frame that the driver does not take when its turn comes is dropped.
    pub fn accepts(&self) -> Accepts {
        let features = self.0.lock().features;
        Accepts {
            partial_checksums: features & F_GUEST_CSUM != 0,
            segments_v4: features & F_GUEST_TSO4 != 0,
            segments_v6: features & F_GUEST_TSO6 != 0,
        }
    }
}
