//! What QEMU inherits: one end of a socket pair per device, memory files, and what it is told about each. No path in the
//! file system is involved, so nothing can be left behind. Called by the engine.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::QemuError;
use super::command_line::DeviceArgument;
use super::fate::Fate;
use super::handover::Handover;
use super::vhost_user::{self, Event, Offer};
use crate::engine::Stop;
use crate::virtio::VirtioDevice;

/// Virtio device types (virtio 1.2 §5).
const BLOCK: u32 = 2;
const RNG: u32 = 4;
const VSOCK: u32 = 19;

/// A socket pair of which QEMU inherits one end.
pub struct Socket {
    /// Our end.
    pub ours: UnixStream,
    /// The number of QEMU's end.
    pub theirs: RawFd,
}

/// Collected for one QEMU.
#[derive(Default)]
pub struct Wiring {
    /// QEMU's devices, in the order in which the guest sees them.
    pub devices: Vec<DeviceArgument>,
    /// Descriptors for the child, under the numbers that they have here.
    pub inherited: Vec<OwnedFd>,
    /// Threads that end once the child is gone.
    pub threads: Vec<JoinHandle<()>>,
}

impl Wiring {
    /// Makes a socket pair.
    pub fn socket(&mut self) -> io::Result<Socket> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Socket { ours, theirs: self.inherit(theirs.into()) })
    }

    /// The name under which QEMU opens what is handed over.
    pub fn file(&mut self, handover: &Handover) -> io::Result<String> {
        let number = self.inherit(handover.share()?);
        Ok(format!("/proc/self/fd/{number}"))
    }

    /// Serves `device` and makes QEMU a device that asks for it. When the guest's driver takes up the first device, firmware
    /// and kernel have read the initramfs, and it is scrubbed. A device whose connection breaks ends the machine.
    pub fn device(
        &mut self,
        device: Box<dyn VirtioDevice>,
        fate: &Arc<Fate>,
        initramfs: &Arc<Handover>,
    ) -> Result<(), QemuError> {
        // QEMU keeps the third queue of vsock (events, for migration) to itself.
        let (name, options, offer) = match device.device_type() {
            BLOCK => ("vhost-user-blk", ",num-queues=1", Offer { queues: 1, config: true }),
            VSOCK => ("vhost-user-vsock-device", "", Offer { queues: 2, config: true }),
            RNG => ("vhost-user-rng", "", Offer { queues: 1, config: false }),
            _ => return Err(QemuError::NoDevice(device.name())),
        };
        let socket = self.socket()?;
        let (fate, initramfs) = (Arc::clone(fate), Arc::clone(initramfs));
        let watch = move |event| match event {
            Event::Running => initramfs.scrub(),
            Event::Ended(Ok(())) => {}
            Event::Ended(Err(error)) => {
                let cause = error.source.to_string();
                tracing::error!(device = error.device, cause, "vhost-user connection broke");
                fate.seal(Stop::Crashed { reason: format!("{error}: {cause}") });
            }
        };
        self.threads.push(vhost_user::serve(device, socket.ours, offer, watch)?);
        self.devices.push(DeviceArgument { name, options, socket: socket.theirs });
        Ok(())
    }

    fn inherit(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.inherited.push(descriptor);
        number
    }
}
