//! Queues, features and status in their order, and every other order (Q11–Q17).

use super::*;

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
