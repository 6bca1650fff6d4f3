//! The transport seen through its registers, as a well-behaved and as a hostile driver.
//! Here is what the tests share: a device that notes what happens to it, behind a transport.

mod queues;
mod registers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::registers as reg;
use super::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};
use super::{MmioTransport, Place};
use crate::bus::BusDevice;
use crate::dax::Region;
use crate::irq::IrqLine;
use crate::virtio::device::ActivateError;
use crate::virtio::mock::{HIGH_END, MockDriver};
use crate::virtio::{Activation, QueueLayout, VirtioDevice};

const FEATURES: u64 = 1 << 5 | 1 << 40;
const NEGOTIATED: u64 = FEATURES | 1 << 32 | 1 << 29 | 1 << 28;
const READY: u32 = ACKNOWLEDGE | DRIVER | FEATURES_OK;

/// What happened to the device under the transport.
#[derive(Default)]
struct Life {
    activation: Option<Activation>,
    activations: u32,
    resets: u32,
    config: [u8; 8],
    refuse: bool,
    region: Option<Region>,
}

/// A device of two queues of up to 8 entries with 8 bytes of configuration.
struct Probe(Arc<Mutex<Life>>);

impl VirtioDevice for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn device_type(&self) -> u32 {
        42
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8, 8]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = self.0.lock().unwrap().config;
        for (byte, value) in data.iter_mut().zip(config.iter().skip(usize::try_from(offset).unwrap())) {
            *byte = *value;
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let life = &mut self.0.lock().unwrap();
        for (byte, value) in life.config.iter_mut().skip(usize::try_from(offset).unwrap()).zip(data) {
            *byte = *value;
        }
    }

    fn shared_memory(&self, id: u32) -> Option<Region> {
        self.0.lock().unwrap().region.filter(|_| id == 1)
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let mut life = self.0.lock().unwrap();
        if life.refuse {
            return Err(ActivateError { device: "probe", reason: "it was told to".into() });
        }
        life.activations += 1;
        life.activation = Some(activation);
        Ok(())
    }

    fn reset(&mut self) {
        let mut life = self.0.lock().unwrap();
        life.resets += 1;
        life.activation = None;
    }
}

#[derive(Default)]
struct Edges(AtomicU32);

impl IrqLine for Edges {
    fn pulse(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Rig {
    transport: MmioTransport,
    life: Arc<Mutex<Life>>,
    edges: Arc<Edges>,
    driver: MockDriver,
}

impl Rig {
    fn new() -> Self {
        let (life, edges) = (Arc::<Mutex<Life>>::default(), Arc::new(Edges::default()));
        let driver = MockDriver::new(&[8, 8]);
        let place = Place { address: 0xd000_0000, line: edges.clone(), doorbells: None, windows: Arc::default() };
        let transport = MmioTransport::new(Box::new(Probe(Arc::clone(&life))), Arc::clone(&driver.ram.memory), place);
        Self { transport, life, edges, driver }
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0xa5; 4];
        self.transport.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&self, offset: u64, value: u32) {
        self.transport.write(offset, &value.to_le_bytes());
    }

    fn accept(&self, features: u64) {
        self.write(reg::STATUS, ACKNOWLEDGE);
        self.write(reg::STATUS, ACKNOWLEDGE | DRIVER);
        for (sel, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(reg::DRIVER_FEATURES_SEL, sel);
            self.write(reg::DRIVER_FEATURES, value);
        }
        self.write(reg::STATUS, READY);
    }

    fn set_up(&self, queue: u32, layout: QueueLayout) {
        self.write(reg::QUEUE_SEL, queue);
        self.write(reg::QUEUE_SIZE, layout.size.into());
        let pairs = [
            (reg::QUEUE_DESC_LOW, layout.desc),
            (reg::QUEUE_DRIVER_LOW, layout.avail),
            (reg::QUEUE_DEVICE_LOW, layout.used),
        ];
        for (offset, address) in pairs {
            self.write(offset, address as u32);
            self.write(offset + 4, (address >> 32) as u32);
        }
        self.write(reg::QUEUE_READY, 1);
    }

    fn layout(&self, queue: usize) -> QueueLayout {
        self.driver.rings[queue].layout
    }

    /// All the way to DRIVER_OK.
    fn bring_up(&self) {
        self.accept(NEGOTIATED);
        self.set_up(0, self.layout(0));
        self.set_up(1, self.layout(1));
        self.write(reg::STATUS, READY | DRIVER_OK);
        assert_eq!(self.life.lock().unwrap().activations, 1);
    }

    fn life<T>(&self, look: impl FnOnce(&mut Life) -> T) -> T {
        look(&mut self.life.lock().unwrap())
    }
}
