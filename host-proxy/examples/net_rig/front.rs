//! The device's place: moves frames between a TAP device and the stack's link, as `Service` does between a guest's rings and
//! the link. One task for both directions, rounds of as many frames, one wait for everything; where the product copies
//! between guest memory and a frame, here the kernel does. Called by `main`.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys;
use lighter_vmm::kick::Kick;
use lighter_vmm::virtio::net::{ETHERNET, Frame, GuestEnd, LONGEST_FRAME, Offload, Spares, header};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::error::TrySendError;

/// Frames in one round, as in the product.
const ROUND: usize = 64;
/// From this length on a copy costs more than other memory.
const LONG: usize = 32 << 10;
/// What Linux's virtio-net driver and this rig's device have in common.
const FEATURES: u64 = header::F_CSUM
    | header::F_GUEST_CSUM
    | header::F_HOST_TSO4
    | header::F_HOST_TSO6
    | header::F_GUEST_TSO4
    | header::F_GUEST_TSO6
    | header::F_MRG_RXBUF;

struct Front {
    tap: AsyncFd<OwnedFd>,
    guest: GuestEnd,
    kick: Arc<Kick>,
    /// Memory for the next frame of the guest, as long as the longest.
    next: Vec<u8>,
}

/// Why a direction stopped.
#[derive(PartialEq, Eq)]
enum Pause {
    Done,
    NobodyTakes,
    RoundOver,
}

/// Until the stack or the device is gone.
pub async fn serve(tap: OwnedFd, guest: GuestEnd) -> io::Result<()> {
    let kick = Arc::new(Kick::default());
    guest.plug(Arc::clone(&kick), FEATURES);
    let next = guest.spares().take(LONGEST_FRAME);
    let mut front = Front { tap: sys::tap::watched(tap)?, guest, kick, next };
    loop {
        let (taken, given) = (front.take()?, front.give()?);
        if taken == Pause::RoundOver || given == Pause::RoundOver {
            tokio::task::yield_now().await;
        } else {
            front.wait(taken == Pause::NobodyTakes).await?;
        }
    }
}

impl Front {
    /// Frames of the guest, to the stack.
    fn take(&mut self) -> io::Result<Pause> {
        for _ in 0..ROUND {
            let room = match self.guest.frames.try_reserve() {
                Ok(room) => room,
                Err(TrySendError::Full(())) => return Ok(Pause::NobodyTakes),
                Err(TrySendError::Closed(())) => return Err(ErrorKind::BrokenPipe.into()),
            };
            // Asks the kernel only while the last event says that there may be something.
            let (mut wire, next) = ([0; header::LENGTH], &mut self.next);
            let read = self.tap.try_io(Interest::READABLE, |tap| {
                Ok(rustix::io::readv(tap, &mut [IoSliceMut::new(&mut wire), IoSliceMut::new(next)])?)
            });
            let length = match read {
                Ok(read) => read.saturating_sub(wire.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Pause::Done),
                Err(error) => return Err(error),
            };
            if let (ETHERNET.., Ok(offload)) = (length, Offload::parse(&wire, length, FEATURES)) {
                room.send(Frame { offload, bytes: frame(next, length, self.guest.spares()) });
            }
        }
        Ok(Pause::RoundOver)
    }

    /// Frames of the stack, to the guest.
    fn give(&mut self) -> io::Result<Pause> {
        for _ in 0..ROUND {
            let Some(frame) = self.guest.next_frame() else { return Ok(Pause::Done) };
            let wire = frame.offload.to_wire(1);
            // What the device does not take is lost, as on a cable: its interface may be down.
            let _ = rustix::io::writev(self.tap.get_ref(), &[IoSlice::new(&wire), IoSlice::new(&frame.bytes)]);
            self.guest.spares().put(frame.bytes);
        }
        Ok(Pause::RoundOver)
    }

    async fn wait(&self, for_room: bool) -> io::Result<()> {
        let frames = async {
            match for_room {
                true => drop(self.guest.frames.reserve().await),
                false => self.tap.readable().await?.retain_ready(),
            }
            io::Result::Ok(())
        };
        tokio::select! {
            biased;
            () = self.kick.notified() => Ok(()),
            readable = frames => readable,
        }
    }
}

/// What was read, as long as it is. The device does not say so beforehand, as a ring does; so a long one goes with the memory
/// that it was read into, and a short one is copied.
fn frame(next: &mut Vec<u8>, length: usize, spares: &Spares) -> Vec<u8> {
    if length < LONG {
        return next[..length].to_vec();
    }
    let mut frame = std::mem::replace(next, spares.take(LONGEST_FRAME));
    frame.truncate(length);
    frame
}
