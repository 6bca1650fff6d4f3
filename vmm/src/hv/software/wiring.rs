//! What QEMU inherits: one end of a socket pair per device, memory files, and what it is told about each. No path in the
//! file system outlives this, so nothing can be left behind. Called by the engine.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::QemuError;
use super::command_line::{DeviceArgument, End};
use super::doorway::Doorway;
use super::fate::Fate;
use super::handover::Handover;
use super::vhost_user::{self, Event, Offer};
use crate::engine::Stop;
use crate::virtio::VirtioDevice;

/// Virtio device types (virtio 1.2 §5).
const NETWORK: u32 = 1;
const BLOCK: u32 = 2;
const RNG: u32 = 4;
const VSOCK: u32 = 19;
const FILES: u32 = 26;

/// Opens our end of a device's connection, once QEMU is there.
type Connect = Box<dyn FnOnce() -> io::Result<UnixStream> + Send>;

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
        runtime_dir: &Path,
    ) -> Result<(), QemuError> {
        // QEMU keeps the third queue of vsock (events, for migration) to itself.
        let (name, options, offer) = match device.device_type() {
            // QEMU answers for the configuration space of this one, so it has to be told what is in it.
            NETWORK => ("virtio-net-device", network_options(&*device), Offer { queues: 2, config: false }),
            BLOCK => ("vhost-user-blk", ",num-queues=1".into(), Offer { queues: 1, config: true }),
            VSOCK => ("vhost-user-vsock-device", String::new(), Offer { queues: 2, config: true }),
            RNG => ("vhost-user-rng", String::new(), Offer { queues: 1, config: false }),
            // As of the network.
            FILES => {
                let queues = device.queue_sizes().len();
                ("vhost-user-fs-device", files_options(&*device), Offer { queues, config: false })
            }
            _ => return Err(QemuError::NoDevice(device.name())),
        };
        let (end, connect): (End, Connect) = if device.device_type() == NETWORK {
            let doorway = Doorway::open(runtime_dir)?;
            let end = End::Network(format!("/proc/self/fd/{}", self.inherit(doorway.place)));
            // Held by QEMU alone once it runs: its end is QEMU's.
            let life = self.socket()?.ours;
            (end, Box::new(move || Doorway::enter(&doorway.listener, &life)))
        } else {
            let socket = self.socket()?;
            (End::Socket(socket.theirs), Box::new(move || Ok(socket.ours)))
        };
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
        self.threads.push(vhost_user::serve(device, connect, offer, watch)?);
        self.devices.push(DeviceArgument { name, options, end });
        Ok(())
    }

    fn inherit(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.inherited.push(descriptor);
        number
    }
}

/// Tag, number and size of the queues as the device has them.
fn files_options(device: &dyn VirtioDevice) -> String {
    let mut tag = [0; 36];
    device.read_config(0, &mut tag);
    let tag: String = tag.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect();
    let sizes = device.queue_sizes();
    let size = sizes.first().copied().unwrap_or(128);
    format!(",tag={tag},num-request-queues={},queue-size={size}", sizes.len().saturating_sub(1))
}

/// Address, MTU and queue sizes as the device has them, and without what QEMU would do itself: a control queue, and telling
/// neighbours of a move to another host.
fn network_options(device: &dyn VirtioDevice) -> String {
    let mut config = [0; 12];
    device.read_config(0, &mut config);
    let mac: Vec<String> = config[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let mtu = u16::from_le_bytes([config[10], config[11]]);
    let sizes: Vec<String> = device.queue_sizes().iter().map(u16::to_string).collect();
    let off = ["ctrl_vq", "ctrl_rx", "ctrl_vlan", "ctrl_rx_extra", "ctrl_mac_addr", "ctrl_guest_offloads"];
    let off: String = off.iter().chain(&["guest_announce"]).map(|name| format!(",{name}=off")).collect();
    format!(
        ",mac={},host_mtu={mtu},rx_queue_size={},tx_queue_size={}{off}",
        mac.join(":"),
        sizes.first().map_or("256", String::as_str),
        sizes.get(1).map_or("256", String::as_str)
    )
}
