//! The vhost-user state machine of one device: negotiation, memory, vrings, and when the device runs. Driven by the control
//! thread in `mod.rs` through the message decoder of the `vhost` crate.
//!
//! ```text
//!            every vring has size, addresses, kick and is enabled
//!   SET-UP ───────────────────────────────────────────────────────▶ SERVING
//!      ▲                     (device.activate)                         │
//!      └───────────────────────────────────────────────────────────────┘
//!         GET_VRING_BASE, SET_VRING_ENABLE 0, RESET_*, disconnection   (device.reset)
//! ```
//! While SERVING only call descriptors may change. A refused message ends the connection.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::runtime::Handle;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight, VhostUserLog,
    VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserSharedMsg, VhostUserSingleMemoryRegion,
    VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::memory_table::{MemoryTable, TableError};
use super::ring::{CallInterrupt, Doorbell, KickBell, Ring};
use super::{Event, Offer, Watch};
use crate::kick::Kick;
use crate::virtio::device::{ActivateError, Activation, Interrupt, VirtioDevice};
use crate::virtio::queue::{QueueConfig, QueueError, QueueLayout, Virtqueue};

const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// Largest queue, whatever the device declares: QEMU lets the driver choose up to this (VIRTQUEUE_MAX_SIZE), and Linux does.
const MAX_QUEUE_SIZE: u16 = 1024;
const INDIRECT_DESC: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Why a message of the frontend was refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the frontend set features that were not offered ({0:#x})")]
    Features(u64),
    #[error("the driver does not know virtio 1.0")]
    Legacy,
    #[error("there is no vring {0}")]
    NoRing(u32),
    #[error("{0} while the device is running")]
    Running(&'static str),
    #[error("{0} before the memory table")]
    NoMemory(&'static str),
    #[error("vring {0} lies outside the memory table")]
    Outside(u32),
    #[error("vring {0} has an impossible size or position")]
    Number(u32),
    #[error("vring {0} comes without a kick descriptor")]
    NoKick(u8),
    #[error(transparent)]
    Memory(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Device(#[from] ActivateError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::ReqHandlerError(io::Error::other(refusal))
    }
}

/// One device as a vhost-user backend.
pub struct Backend {
    device: Box<dyn VirtioDevice>,
    offer: Offer,
    runtime: Handle,
    watch: Watch,
    acked: u64,
    table: Option<MemoryTable>,
    rings: Vec<Ring>,
    interrupt: Arc<CallInterrupt>,
    /// Present while SERVING.
    doorbells: Option<Vec<Doorbell>>,
}

impl Backend {
    /// A backend in SET-UP. `offer.queues` is at most what the device declares.
    pub fn new(device: Box<dyn VirtioDevice>, offer: Offer, runtime: Handle, watch: Watch) -> Self {
        let interrupt = Arc::new(CallInterrupt::new(device.name(), offer.queues));
        let rings = std::iter::repeat_with(Ring::default).take(offer.queues).collect();
        Self { device, offer, runtime, watch, acked: 0, table: None, rings, interrupt, doorbells: None }
    }

    /// Whether the frontend has set features.
    pub fn has_features(&self) -> bool {
        self.acked != 0
    }

    /// SERVING → SET-UP. Idempotent.
    pub fn stop(&mut self) {
        if self.doorbells.take().is_none() {
            return;
        }
        self.device.reset();
        for ring in &mut self.rings {
            let position = self.table.as_ref().and_then(|table| ring.position(table.memory()));
            ring.base = position.unwrap_or(ring.base);
        }
        tracing::debug!(device = self.device.name(), "stopped");
    }

    /// SET-UP → SERVING, once everything is there.
    fn start_if_ready(&mut self) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if self.doorbells.is_some() || !self.rings.iter().all(Ring::is_ready) {
            return Ok(());
        }
        if self.acked & VERSION_1 == 0 {
            return Err(Refusal::Legacy.into());
        }
        let _entered = self.runtime.enter();
        let memory = Arc::clone(table.memory());
        let (mut queues, mut doorbells) = (Vec::new(), Vec::new());
        for (index, ring) in (0..).zip(&self.rings) {
            let descriptor = ring.kick.as_ref().ok_or(Refusal::NoRing(u32::from(index)))?;
            let kick = if self.device.waits_in_threads() {
                let kick = Kick::behind(Box::new(KickBell::new(descriptor).map_err(Refusal::from)?));
                // For whatever was offered before we listened.
                kick.signal();
                Arc::new(kick)
            } else {
                let kick = Arc::new(Kick::default());
                doorbells.push(Doorbell::new(descriptor, Arc::clone(&kick)).map_err(Refusal::from)?);
                kick
            };
            let queue = Virtqueue::new(QueueConfig {
                index,
                max_size: MAX_QUEUE_SIZE,
                layout: ring.layout,
                event_idx: self.acked & EVENT_IDX != 0,
                next: ring.base,
                memory: Arc::clone(&memory),
                kick,
                interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            });
            queues.push(queue.map_err(Refusal::from)?);
        }
        let features = self.acked & !PROTOCOL_FEATURES;
        let interrupt = Arc::clone(&self.interrupt);
        self.device.activate(Activation { memory, queues, features, interrupt }).map_err(Refusal::from)?;
        self.doorbells = Some(doorbells);
        tracing::debug!(device = self.device.name(), features, "running");
        (self.watch)(Event::Running);
        Ok(())
    }

    fn offered(&self) -> u64 {
        self.device.features() | VERSION_1 | EVENT_IDX | INDIRECT_DESC | PROTOCOL_FEATURES
    }

    /// Vring `index`, which may be changed only in SET-UP.
    fn ring(&mut self, index: u32, what: &'static str) -> std::result::Result<&mut Ring, Refusal> {
        if self.doorbells.is_some() {
            return Err(Refusal::Running(what));
        }
        usize::try_from(index).ok().and_then(|index| self.rings.get_mut(index)).ok_or(Refusal::NoRing(index))
    }

    fn forget_rings(&mut self) {
        self.stop();
        self.rings.fill_with(Ring::default);
    }
}

impl VhostUserBackendReqHandlerMut for Backend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.forget_rings();
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.forget_rings();
        self.acked = 0;
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let unknown = features & !self.offered();
        if unknown != 0 {
            return Err(Refusal::Features(unknown).into());
        }
        if self.doorbells.is_some() && features != self.acked {
            return Err(Refusal::Running("new features").into());
        }
        self.acked = features;
        if features & PROTOCOL_FEATURES == 0 {
            // Without SET_VRING_ENABLE, vrings are enabled from the start.
            self.rings.iter_mut().for_each(|ring| ring.enabled = true);
        }
        Ok(())
    }

    fn set_mem_table(&mut self, regions: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<()> {
        if self.doorbells.is_some() {
            return Err(Refusal::Running("a new memory table").into());
        }
        self.table = Some(MemoryTable::map(regions, files).map_err(Refusal::from)?);
        Ok(())
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let ring = self.ring(index, "a vring's size")?;
        ring.layout.size = u16::try_from(num).map_err(|_| Refusal::Number(index))?;
        self.start_if_ready()
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let table = self.table.as_ref().ok_or(Refusal::NoMemory("a vring's addresses"))?;
        let guest = |user| table.guest_address(user).ok_or(Refusal::Outside(index));
        let (desc, avail, used) = (guest(descriptor)?, guest(available)?, guest(used)?);
        let ring = self.ring(index, "a vring's addresses")?;
        ring.layout = QueueLayout { size: ring.layout.size, desc, avail, used };
        ring.placed = true;
        self.start_if_ready()
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.ring(index, "a vring's position")?.base = u16::try_from(base).map_err(|_| Refusal::Number(index))?;
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.stop();
        let ring = self.ring(index, "a vring's position")?;
        ring.kick = None;
        Ok(VhostUserVringState::new(index, u32::from(ring.base)))
    }

    fn set_vring_kick(&mut self, index: u8, descriptor: Option<File>) -> Result<()> {
        let descriptor = descriptor.ok_or(Refusal::NoKick(index))?;
        self.ring(u32::from(index), "a vring's kick descriptor")?.kick = Some(OwnedFd::from(descriptor));
        self.start_if_ready()
    }

    fn set_vring_call(&mut self, index: u8, descriptor: Option<File>) -> Result<()> {
        let set = self.interrupt.set_call(usize::from(index), descriptor.map(OwnedFd::from));
        set.map_err(|error| Refusal::from(error).into())
    }

    fn set_vring_err(&mut self, index: u8, descriptor: Option<File>) -> Result<()> {
        let set = self.interrupt.set_error(usize::from(index), descriptor.map(OwnedFd::from));
        set.map_err(|error| Refusal::from(error).into())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        let config =
            if self.offer.config { VhostUserProtocolFeatures::CONFIG } else { VhostUserProtocolFeatures::empty() };
        Ok(config | VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        let unknown = features & !self.get_protocol_features()?.bits();
        if unknown != 0 {
            return Err(Refusal::Features(unknown).into());
        }
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        if !enable {
            self.stop();
        } else if self.rings.get(index as usize).is_some_and(|ring| ring.enabled) {
            return Ok(());
        }
        self.ring(index, "a vring's enabling")?.enabled = enable;
        self.start_if_ready()
    }

    fn get_config(&mut self, offset: u32, size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        // The decoder bounds `size` by 256.
        let mut data = vec![0; size as usize];
        self.device.read_config(u64::from(offset), &mut data);
        Ok(data)
    }

    fn set_config(&mut self, offset: u32, data: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        self.device.write_config(u64::from(offset), data);
        Ok(())
    }

    // What follows belongs to protocol features that are never offered; the decoder refuses most of it by itself.

    fn set_gpu_socket(&mut self, _backend: GpuBackend) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn get_shared_object(&mut self, _object: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidMessage)
    }

    fn get_inflight_fd(&mut self, _inflight: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(Error::InvalidMessage)
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Err(Error::InvalidMessage)
    }

    fn add_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion, _file: File) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidMessage)
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        Err(Error::InvalidMessage)
    }
}
