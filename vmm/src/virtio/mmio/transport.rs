//! The register file: negotiation, queue set-up, activation, reset. All of it under one lock that no device task takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::interrupt::Interrupts;
use super::registers as reg;
use super::status::{self, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, Write};
use crate::bus::BusDevice;
use crate::dax::Region;
use crate::hv::DoorbellGuard;
use crate::irq::IrqLine;
use crate::kick::Kick;
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimit;
use crate::virtio::queue::{QueueConfig, QueueLayout};
use crate::virtio::{Activation, Interrupt, VirtioDevice, Virtqueue};

const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const INDIRECT_DESC: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A hypervisor's way to signal queues without exits.
pub trait Doorbells: Send + Sync {
    /// Like [`Vm::doorbell`](crate::hv::Vm::doorbell).
    fn attach(&self, address: u64, value: u32, kick: Arc<Kick>) -> Option<DoorbellGuard>;
}

/// Where a transport sits in its machine.
pub struct Place {
    /// Guest address of its registers.
    pub address: u64,
    /// Its interrupt line.
    pub line: Arc<dyn IrqLine>,
    /// `None`: notifications arrive as register writes.
    pub doorbells: Option<Arc<dyn Doorbells>>,
    /// Where in the machine there is memory that is not RAM.
    pub windows: Arc<[Region]>,
}

/// One virtio device on the bus.
pub struct MmioTransport {
    state: Mutex<State>,
    interrupts: Arc<Interrupts>,
    // Last, so that doorbells ring until nobody is there to hear them.
    _doorbells: Vec<DoorbellGuard>,
}

struct State {
    device: Box<dyn VirtioDevice>,
    memory: GuestMemory,
    interrupts: Arc<Interrupts>,
    /// The driver's bits of the status register.
    status: u32,
    offered: u64,
    accepted: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    shm_sel: u32,
    windows: Arc<[Region]>,
    queues: Vec<QueueRegisters>,
    /// The device has its queues and has not been reset since.
    active: bool,
    /// A guest can bring a device up wrongly as often as it likes.
    limit: RateLimit,
}

/// One queue as the driver sets it up.
struct QueueRegisters {
    max_size: u16,
    layout: QueueLayout,
    ready: bool,
    kick: Arc<Kick>,
}

impl MmioTransport {
    /// Puts `device` behind registers at `place`. Called inside a tokio runtime if `place` has doorbells.
    pub fn new(device: Box<dyn VirtioDevice>, memory: GuestMemory, place: Place) -> Self {
        let interrupts = Arc::new(Interrupts::new(place.line));
        let queues: Vec<_> = device.queue_sizes().iter().map(|&max_size| QueueRegisters::new(max_size)).collect();
        let notify = place.address + reg::QUEUE_NOTIFY;
        let ring = |(index, queue): (u32, &QueueRegisters)| {
            place.doorbells.as_ref()?.attach(notify, index, Arc::clone(&queue.kick))
        };
        let doorbells = (0..).zip(&queues).filter_map(ring).collect();
        let state = State {
            offered: device.features() | VERSION_1 | EVENT_IDX | INDIRECT_DESC,
            device,
            memory,
            interrupts: Arc::clone(&interrupts),
            status: 0,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            shm_sel: 0,
            windows: place.windows,
            queues,
            active: false,
            limit: RateLimit::default(),
        };
        Self { state: Mutex::new(state), interrupts, _doorbells: doorbells }
    }

    /// Takes the device out of service for good, when no vCPU runs any more.
    pub fn shut_down(&self) {
        self.lock().reset();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a device panicked under the lock, the others and the guest's next reset still need the register file.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusDevice for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            return self.lock().device.read_config(offset, data);
        }
        // Registers are 32 bits wide and read as such (§4.2.2.2); anything else reads as zero.
        if data.len() != 4 || !offset.is_multiple_of(4) {
            return;
        }
        let value = match offset {
            // Read on every interrupt: no need to wait for the register file.
            reg::INTERRUPT_STATUS => self.interrupts.status(),
            _ => self.lock().read(offset),
        };
        data.copy_from_slice(&value.to_le_bytes());
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            return self.lock().device.write_config(offset, data);
        }
        let (&[a, b, c, d], true) = (data, offset.is_multiple_of(4)) else { return };
        let value = u32::from_le_bytes([a, b, c, d]);
        match offset {
            reg::INTERRUPT_ACK => self.interrupts.acknowledge(value),
            _ => self.lock().write(offset, value),
        }
    }
}

impl QueueRegisters {
    fn new(max_size: u16) -> Self {
        Self { max_size, layout: QueueLayout::default(), ready: false, kick: Arc::default() }
    }
}

impl State {
    fn read(&self, offset: u64) -> u32 {
        match offset {
            reg::MAGIC => reg::MAGIC_VALUE,
            reg::VERSION => reg::VERSION_VALUE,
            reg::DEVICE_ID => self.device.device_type(),
            reg::VENDOR_ID => reg::VENDOR_VALUE,
            reg::DEVICE_FEATURES => half(self.offered, self.device_features_sel),
            reg::QUEUE_SIZE_MAX => self.queue().map_or(0, |queue| queue.max_size.into()),
            reg::QUEUE_READY => self.queue().map_or(0, |queue| queue.ready.into()),
            reg::STATUS => self.status | if self.interrupts.is_broken() { NEEDS_RESET } else { 0 },
            reg::SHM_LENGTH_LOW => half(self.shared_memory().len, 0),
            reg::SHM_LENGTH_HIGH => half(self.shared_memory().len, 1),
            reg::SHM_BASE_LOW => half(self.shared_memory().base, 0),
            reg::SHM_BASE_HIGH => half(self.shared_memory().base, 1),
            reg::CONFIG_GENERATION => self.interrupts.generation(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => self.accept_features(value),
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::SHM_SEL => self.shm_sel = value,
            reg::QUEUE_NOTIFY => self.notify(value),
            reg::STATUS => self.set_status(value),
            reg::QUEUE_SIZE | reg::QUEUE_READY | reg::QUEUE_DESC_LOW..=reg::QUEUE_DEVICE_HIGH => {
                self.set_up_queue(offset, value);
            }
            _ => {}
        }
    }

    /// The selected shared memory region; one that is not there has all ones (§4.2.2).
    fn shared_memory(&self) -> Region {
        self.device.shared_memory(self.shm_sel).unwrap_or(Region { base: u64::MAX, len: u64::MAX })
    }

    /// The selected queue, if there is one.
    fn queue(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    fn accept_features(&mut self, value: u32) {
        let shift = match self.driver_features_sel {
            0 => 0,
            1 => 32,
            _ => return,
        };
        if self.status & DRIVER != 0 && self.status & FEATURES_OK == 0 {
            self.accepted = self.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
        }
    }

    fn set_up_queue(&mut self, offset: u64, value: u32) {
        // Queues belong to the time between FEATURES_OK and DRIVER_OK; a ready one must be taken back before it changes.
        if self.status & FEATURES_OK == 0 || self.status & DRIVER_OK != 0 {
            return;
        }
        let Some(queue) = usize::try_from(self.queue_sel).ok().and_then(|index| self.queues.get_mut(index)) else {
            return;
        };
        if offset == reg::QUEUE_READY {
            queue.ready = value & 1 != 0;
            return;
        }
        if queue.ready {
            return;
        }
        let layout = &mut queue.layout;
        match offset {
            // A size that does not fit 16 bits becomes one that activation refuses.
            reg::QUEUE_SIZE => layout.size = u16::try_from(value).unwrap_or(0),
            reg::QUEUE_DESC_LOW => set_low(&mut layout.desc, value),
            reg::QUEUE_DESC_HIGH => set_high(&mut layout.desc, value),
            reg::QUEUE_DRIVER_LOW => set_low(&mut layout.avail, value),
            reg::QUEUE_DRIVER_HIGH => set_high(&mut layout.avail, value),
            reg::QUEUE_DEVICE_LOW => set_low(&mut layout.used, value),
            reg::QUEUE_DEVICE_HIGH => set_high(&mut layout.used, value),
            _ => {}
        }
    }

    fn notify(&self, value: u32) {
        if let (true, Some(queue)) = (self.active, usize::try_from(value).ok().and_then(|index| self.queues.get(index)))
        {
            queue.kick.signal();
        }
    }

    fn set_status(&mut self, value: u32) {
        let added = match status::judge(self.status, value) {
            Write::Reset => return self.reset(),
            Write::Ignore => {
                tracing::debug!(device = self.device.name(), old = self.status, new = value, "status write ignored");
                return;
            }
            Write::Add(added) => added,
        };
        if added & FEATURES_OK != 0 && (self.accepted & !self.offered != 0 || self.accepted & VERSION_1 == 0) {
            // The driver reads the register back and finds FEATURES_OK missing (§3.1.1 step 6); steps behind it fall too.
            tracing::debug!(device = self.device.name(), accepted = self.accepted, "features refused");
            self.status |= added & !(FEATURES_OK | DRIVER_OK);
            return;
        }
        self.status |= added;
        if added & DRIVER_OK != 0 {
            self.activate();
        }
    }

    fn activate(&mut self) {
        let outcome = self.build_queues().and_then(|queues| {
            let activation = Activation {
                memory: Arc::clone(&self.memory),
                queues,
                features: self.accepted,
                interrupt: Arc::clone(&self.interrupts) as _,
            };
            self.device.activate(activation).map_err(|error| error.to_string())
        });
        match outcome {
            Ok(()) => self.active = true,
            Err(reason) => {
                if let Some(held_back) = self.limit.allow() {
                    tracing::warn!(device = self.device.name(), %reason, held_back, "device needs a reset");
                }
                self.interrupts.needs_reset();
            }
        }
    }

    fn build_queues(&self) -> Result<Vec<Virtqueue>, String> {
        let build = |(index, queue): (u16, &QueueRegisters)| {
            if !queue.ready {
                return Err(format!("The driver left queue {index} out"));
            }
            let config = QueueConfig {
                index,
                max_size: queue.max_size,
                layout: queue.layout,
                event_idx: self.accepted & EVENT_IDX != 0,
                next: 0,
                memory: Arc::clone(&self.memory),
                kick: Arc::clone(&queue.kick),
                interrupt: Arc::clone(&self.interrupts) as _,
            };
            let queue = Virtqueue::new(config).map_err(|error| error.to_string())?;
            Ok(queue.beside(Arc::clone(&self.windows)))
        };
        (0..).zip(&self.queues).map(build).collect()
    }

    fn reset(&mut self) {
        self.device.reset();
        self.active = false;
        self.status = 0;
        self.accepted = 0;
        (self.device_features_sel, self.driver_features_sel, self.queue_sel, self.shm_sel) = (0, 0, 0, 0);
        for queue in &mut self.queues {
            queue.layout = QueueLayout::default();
            queue.ready = false;
        }
        // After the device: its last words are void too.
        self.interrupts.reset();
    }
}

fn half(bits: u64, sel: u32) -> u32 {
    match sel {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}
