//! The transport seen through its registers, as a well-behaved and as a hostile driver.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::registers as reg;
use super::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};
use super::{MmioTransport, Place};
use crate::bus::BusDevice;
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
        let place = Place { address: 0xd000_0000, line: edges.clone(), doorbells: None };
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

#[test]
fn a_driver_finds_the_device_and_brings_it_up() {
    let rig = Rig::new();
    let identity = [reg::MAGIC, reg::VERSION, reg::DEVICE_ID].map(|offset| rig.read(offset));
    assert_eq!(identity, [0x7472_6976, 2, 42]);
    rig.write(reg::DEVICE_FEATURES_SEL, 0);
    let low = rig.read(reg::DEVICE_FEATURES);
    rig.write(reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(u64::from(rig.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low), NEGOTIATED);
    rig.write(reg::DEVICE_FEATURES_SEL, 2);
    assert_eq!(rig.read(reg::DEVICE_FEATURES), 0);
    rig.bring_up();
    assert_eq!(rig.read(reg::STATUS), READY | DRIVER_OK);
    rig.life(|life| {
        let activation = life.activation.as_ref().unwrap();
        assert_eq!((activation.features, activation.queues.len()), (NEGOTIATED, 2));
    });
}

#[test]
fn m1_every_offset_and_width_is_survived_and_odd_ones_read_zero() {
    for up in [false, true] {
        let rig = Rig::new();
        if up {
            rig.bring_up();
        }
        for offset in 0..0x110u64 {
            for width in [0usize, 1, 2, 3, 4, 8] {
                let mut data = [0xa5; 8];
                rig.transport.read(offset, &mut data[..width]);
                let odd = width != 4 || offset % 4 != 0;
                if offset < reg::CONFIG && odd {
                    assert!(data[..width].iter().all(|&byte| byte == 0), "{offset:#x} width {width}");
                }
                // Zeroes: a write of the status register is a reset, of anything else harmless.
                rig.transport.write(offset, &[0; 8][..width]);
                rig.transport.write(offset, &[0xff; 8][..width]);
            }
        }
        let mut far = [0xa5; 8];
        rig.transport.read(0xfff, &mut far);
        assert_eq!(far, [0; 8], "past the end of the configuration space");
    }
}

#[test]
fn m2_read_only_registers_keep_their_value_and_write_only_ones_read_zero() {
    let rig = Rig::new();
    let read_only = [reg::MAGIC, reg::VERSION, reg::DEVICE_ID, reg::VENDOR_ID, reg::QUEUE_SIZE_MAX];
    for offset in read_only {
        let before = rig.read(offset);
        rig.write(offset, !before);
        assert_eq!(rig.read(offset), before, "{offset:#x}");
    }
    let write_only =
        [reg::DEVICE_FEATURES_SEL, reg::DRIVER_FEATURES, reg::QUEUE_SEL, reg::QUEUE_NOTIFY, reg::INTERRUPT_ACK];
    for offset in write_only {
        assert_eq!(rig.read(offset), 0, "{offset:#x}");
    }
}

#[test]
fn m3_a_queue_that_does_not_exist_has_no_registers() {
    let rig = Rig::new();
    rig.accept(NEGOTIATED);
    for queue in [2, 0xffff, u32::MAX] {
        rig.set_up(queue, rig.layout(0));
        assert_eq!((rig.read(reg::QUEUE_SIZE_MAX), rig.read(reg::QUEUE_READY)), (0, 0));
    }
    rig.write(reg::QUEUE_SEL, 1);
    assert_eq!((rig.read(reg::QUEUE_SIZE_MAX), rig.read(reg::QUEUE_READY)), (8, 0));
}

#[test]
fn m4_there_is_no_shared_memory_and_the_generation_counts_changes() {
    let rig = Rig::new();
    for offset in (reg::SHM_LENGTH_LOW..=reg::SHM_BASE_HIGH).step_by(4) {
        assert_eq!(rig.read(offset), u32::MAX);
    }
    rig.bring_up();
    let before = rig.read(reg::CONFIG_GENERATION);
    rig.life(|life| life.activation.as_ref().unwrap().interrupt.config());
    assert_eq!(rig.read(reg::CONFIG_GENERATION), before + 1);
    assert_eq!(rig.read(reg::INTERRUPT_STATUS), 2);
}

#[test]
fn configuration_takes_any_width() {
    let rig = Rig::new();
    rig.transport.write(reg::CONFIG + 1, &[1, 2, 3, 4]);
    let mut data = [0xa5; 8];
    rig.transport.read(reg::CONFIG, &mut data);
    assert_eq!(data, [0, 1, 2, 3, 4, 0, 0, 0]);
    let mut data = [0xa5; 4];
    rig.transport.read(reg::CONFIG + 6, &mut data);
    assert_eq!(data, [0; 4]);
}

#[test]
fn q11_wrong_sizes_leave_the_device_broken_and_a_reset_cures_it() {
    for size in [0, 3, 16, 0x1_0008] {
        let rig = Rig::new();
        rig.accept(NEGOTIATED);
        rig.set_up(0, rig.layout(0));
        rig.write(reg::QUEUE_READY, 0);
        rig.write(reg::QUEUE_SIZE, size);
        rig.write(reg::QUEUE_READY, 1);
        rig.set_up(1, rig.layout(1));
        rig.write(reg::STATUS, READY | DRIVER_OK);
        assert_eq!(rig.life(|life| life.activations), 0, "size {size}");
        assert_eq!(rig.read(reg::STATUS) & NEEDS_RESET, NEEDS_RESET);
        assert_eq!((rig.read(reg::INTERRUPT_STATUS), rig.edges.0.load(Ordering::SeqCst)), (2, 1));
        rig.write(reg::STATUS, 0);
        assert_eq!((rig.read(reg::STATUS), rig.read(reg::INTERRUPT_STATUS)), (0, 0));
        rig.bring_up();
    }
}

#[test]
fn q11_a_ready_queue_does_not_change() {
    let rig = Rig::new();
    rig.accept(NEGOTIATED);
    rig.set_up(0, rig.layout(0));
    rig.set_up(1, rig.layout(1));
    rig.write(reg::QUEUE_SIZE, 4);
    rig.write(reg::QUEUE_DESC_HIGH, 0xffff);
    rig.write(reg::STATUS, READY | DRIVER_OK);
    rig.write(reg::QUEUE_READY, 0);
    assert_eq!(rig.read(reg::QUEUE_READY), 1, "in service, only a reset takes a queue back");
    assert_eq!(rig.life(|life| life.activations), 1);
}

#[test]
fn q12_rings_outside_ram_leave_the_device_broken() {
    for wrong in [HIGH_END, HIGH_END - 8, 0xd000_0000, !0xfff, 0x1001] {
        for part in 0..3 {
            let rig = Rig::new();
            rig.accept(NEGOTIATED);
            let mut layout = rig.layout(0);
            *[&mut layout.desc, &mut layout.avail, &mut layout.used][part] = wrong;
            rig.set_up(0, layout);
            rig.set_up(1, rig.layout(1));
            rig.write(reg::STATUS, READY | DRIVER_OK);
            assert_eq!(rig.life(|life| life.activations), 0, "part {part} at {wrong:#x}");
            assert_eq!(rig.read(reg::STATUS) & NEEDS_RESET, NEEDS_RESET);
        }
    }
}

#[test]
fn q14_queues_exist_only_between_features_ok_and_driver_ok() {
    let rig = Rig::new();
    rig.set_up(0, rig.layout(0));
    assert_eq!(rig.read(reg::QUEUE_READY), 0);
    rig.accept(NEGOTIATED);
    rig.set_up(0, rig.layout(0));
    rig.write(reg::STATUS, READY | DRIVER_OK);
    assert_eq!(rig.read(reg::STATUS) & NEEDS_RESET, NEEDS_RESET, "queue 1 was left out");
    assert_eq!(rig.life(|life| life.activations), 0);
}

#[tokio::test]
async fn q14_doorbells_ring_only_for_queues_in_service() {
    let rig = Rig::new();
    for queue in [0, 1, 2, 0xffff, u32::MAX] {
        rig.write(reg::QUEUE_NOTIFY, queue);
    }
    rig.bring_up();
    let kicks = rig.life(|life| {
        life.activation.as_ref().unwrap().queues.iter().map(|queue| Arc::clone(queue.kick())).collect::<Vec<_>>()
    });
    for queue in [2, 0xffff, 0x1_0001, u32::MAX] {
        rig.write(reg::QUEUE_NOTIFY, queue);
    }
    rig.write(reg::QUEUE_NOTIFY, 1);
    tokio::select! {
        biased;
        () = kicks[0].notified() => panic!("queue 0 was never rung"),
        () = kicks[1].notified() => {}
    }
}

#[test]
fn q16_unoffered_features_and_a_missing_version_1_are_refused() {
    for features in [NEGOTIATED | 1 << 7, NEGOTIATED | 1 << 63, NEGOTIATED & !(1 << 32), 0] {
        let rig = Rig::new();
        rig.accept(features);
        assert_eq!(rig.read(reg::STATUS), ACKNOWLEDGE | DRIVER, "{features:#x}");
        rig.write(reg::STATUS, READY | DRIVER_OK);
        assert_eq!((rig.read(reg::STATUS), rig.life(|life| life.activations)), (ACKNOWLEDGE | DRIVER, 0));
    }
}

#[test]
fn q16_features_are_settled_at_features_ok() {
    let rig = Rig::new();
    rig.bring_up();
    rig.write(reg::DRIVER_FEATURES_SEL, 0);
    rig.write(reg::DRIVER_FEATURES, 0);
    rig.write(reg::STATUS, 0);
    let rig = Rig::new();
    rig.accept(NEGOTIATED);
    rig.write(reg::DRIVER_FEATURES_SEL, 1);
    rig.write(reg::DRIVER_FEATURES, 0);
    rig.set_up(0, rig.layout(0));
    rig.set_up(1, rig.layout(1));
    rig.write(reg::STATUS, READY | DRIVER_OK);
    assert_eq!(rig.life(|life| life.activation.as_ref().unwrap().features), NEGOTIATED);
}

#[test]
fn q17_status_out_of_order_never_activates_and_reset_works_from_anywhere() {
    let rig = Rig::new();
    for value in [DRIVER_OK, FEATURES_OK, DRIVER, ACKNOWLEDGE | DRIVER_OK, 0xffff_ffff, 0x100] {
        rig.write(reg::STATUS, value);
        assert_eq!(rig.read(reg::STATUS), 0, "{value:#x}");
    }
    rig.bring_up();
    rig.write(reg::STATUS, ACKNOWLEDGE);
    assert_eq!(rig.read(reg::STATUS), READY | DRIVER_OK, "bits are never taken back");
    rig.write(reg::STATUS, READY | DRIVER_OK | FAILED);
    rig.write(reg::STATUS, READY | DRIVER_OK | FAILED);
    assert_eq!(rig.life(|life| life.activations), 1, "DRIVER_OK counts once");
    rig.write(reg::STATUS, 0);
    assert_eq!((rig.read(reg::STATUS), rig.life(|life| (life.resets, life.activation.is_none()))), (0, (1, true)));
}

#[test]
fn q17_after_a_reset_nothing_of_the_old_life_is_left() {
    let rig = Rig::new();
    rig.bring_up();
    let old = rig.life(|life| Arc::clone(&life.activation.as_ref().unwrap().interrupt));
    old.queue(0);
    old.needs_reset();
    rig.write(reg::STATUS, 0);
    let registers = [reg::STATUS, reg::INTERRUPT_STATUS, reg::QUEUE_READY].map(|offset| rig.read(offset));
    assert_eq!(registers, [0, 0, 0]);
    rig.write(reg::STATUS, READY | DRIVER_OK);
    assert_eq!(rig.read(reg::STATUS), ACKNOWLEDGE | DRIVER, "features have to be negotiated anew");
    rig.life(|life| life.activations = 0);
    rig.write(reg::STATUS, 0);
    rig.bring_up();
}

#[test]
fn a_device_that_cannot_start_asks_for_a_reset() {
    let rig = Rig::new();
    rig.life(|life| life.refuse = true);
    rig.accept(NEGOTIATED);
    rig.set_up(0, rig.layout(0));
    rig.set_up(1, rig.layout(1));
    rig.write(reg::STATUS, READY | DRIVER_OK);
    assert_eq!(rig.read(reg::STATUS), READY | DRIVER_OK | NEEDS_RESET);
    rig.write(reg::QUEUE_NOTIFY, 0);
}

#[test]
fn interrupts_are_acknowledged_bit_by_bit_and_every_new_one_has_an_edge() {
    let rig = Rig::new();
    rig.bring_up();
    let interrupt = rig.life(|life| Arc::clone(&life.activation.as_ref().unwrap().interrupt));
    let edges = || rig.edges.0.load(Ordering::SeqCst);
    interrupt.queue(0);
    interrupt.config();
    assert_eq!((rig.read(reg::INTERRUPT_STATUS), edges()), (3, 2));
    rig.write(reg::INTERRUPT_ACK, 1);
    assert_eq!(rig.read(reg::INTERRUPT_STATUS), 2);
    interrupt.queue(1);
    assert_eq!((rig.read(reg::INTERRUPT_STATUS), edges()), (3, 3));
    rig.write(reg::INTERRUPT_ACK, u32::MAX);
    assert_eq!(rig.read(reg::INTERRUPT_STATUS), 0);
}
