//! What each register reads as and takes (M1–M4), configuration space, interrupts.

use super::*;

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
fn m4_a_shared_memory_region_is_told_by_its_number_and_another_is_not_there() {
    let rig = Rig::new();
    rig.life(|life| life.region = Some(Region { base: 0x1_2345_6000, len: 0x40_0000_1000 }));
    let region = |id| {
        rig.write(reg::SHM_SEL, id);
        [reg::SHM_LENGTH_LOW, reg::SHM_LENGTH_HIGH, reg::SHM_BASE_LOW, reg::SHM_BASE_HIGH].map(|at| rig.read(at))
    };
    assert_eq!(region(1), [0x1000, 0x40, 0x2345_6000, 1]);
    for id in [0, 2, 0x101, u32::MAX] {
        assert_eq!(region(id), [u32::MAX; 4]);
    }
    region(1);
    rig.write(reg::STATUS, 0);
    assert_eq!(rig.read(reg::SHM_LENGTH_LOW), u32::MAX, "a reset selects the first one again");
    assert_eq!(rig.read(reg::SHM_SEL), 0);
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
