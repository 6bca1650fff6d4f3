//! Indices, sizes and places of rings, interrupts and doorbells (Q9–Q15).

use super::*;

#[test]
fn q9_an_available_index_too_far_ahead_is_refused() {
    for index in [SIZE + 1, u16::MAX, 0x8000] {
        let mut ring = ring();
        let mut queue = ring.virtqueue();
        ring.set_avail_index(index);
        assert!(matches!(queue.pop(), Err(QueueError::AvailIndex(0))), "index {index}");
    }
    // Backwards, after one was taken, is as far ahead as can be.
    let mut ring = ring();
    let mut queue = ring.virtqueue();
    ring.add(&[b"x"], &[]);
    assert!(queue.pop().unwrap().is_some());
    ring.set_avail_index(0);
    assert!(matches!(queue.pop(), Err(QueueError::AvailIndex(0))));
}

#[test]
fn q9_indices_wrap_at_16_bits() {
    let mut ring = ring();
    let mut queue = ring.virtqueue();
    for _ in 0..70_000 {
        let head = ring.add(&[b"x"], &[]).head;
        assert_eq!(queue.pop().unwrap().unwrap().head, head);
        queue.push(head, 0).unwrap();
        assert_eq!(ring.used().len(), 1);
    }
}

#[test]
fn q10_the_same_head_twice_in_flight_is_refused() {
    let mut ring = ring();
    ring.set_descriptor(0, single(BUFFER, 1));
    ring.offer(0);
    ring.offer(0);
    let mut queue = ring.virtqueue();
    queue.pop().unwrap().unwrap();
    refused(pop(&mut queue), "in flight");
}

#[test]
fn q10_a_head_given_back_may_come_again() {
    let mut ring = ring();
    ring.set_descriptor(0, single(BUFFER, 1));
    let mut queue = ring.virtqueue();
    for _ in 0..3 {
        ring.offer(0);
        assert_eq!(queue.pop().unwrap().unwrap().head, 0);
        queue.push(0, 0).unwrap();
    }
}

#[test]
fn q11_sizes_that_are_no_power_of_two_or_too_large_are_refused() {
    let ring = ring();
    for size in [0, 3, 7, SIZE * 2, u16::MAX] {
        let outcome = ring.try_virtqueue(QueueLayout { size, ..ring.layout });
        assert!(matches!(outcome, Err(QueueError::Setup { .. })), "size {size}");
    }
    for size in [1, 2, SIZE] {
        assert!(ring.try_virtqueue(QueueLayout { size, ..ring.layout }).is_ok(), "size {size}");
    }
}

#[test]
fn q12_misplaced_rings_are_refused() {
    let ring = ring();
    let good = ring.layout;
    let bad = [
        QueueLayout { desc: good.desc + 8, ..good },
        QueueLayout { avail: good.avail + 1, ..good },
        QueueLayout { used: good.used + 2, ..good },
        QueueLayout { desc: LOW_END, ..good },
        QueueLayout { desc: LOW_END - 16, ..good },
        QueueLayout { avail: LOW_END - 2, ..good },
        QueueLayout { used: HIGH_END - 4, ..good },
        QueueLayout { used: HIGH_BASE - 4, ..good },
        QueueLayout { desc: u64::MAX - 15, ..good },
        QueueLayout { used: u64::MAX - 3, ..good },
        QueueLayout { avail: 0, ..good },
        QueueLayout { avail: good.desc, ..good },
        QueueLayout { used: good.desc + 16, ..good },
        QueueLayout { used: good.avail, ..good },
        QueueLayout { avail: good.used + 68, ..good },
    ];
    for layout in bad {
        assert!(matches!(ring.try_virtqueue(layout), Err(QueueError::Setup { .. })), "{layout:x?}");
    }
    // A ring may end exactly where RAM ends.
    for layout in [
        QueueLayout { desc: HIGH_END - 128, ..good },
        QueueLayout { avail: LOW_END - 22, ..good },
        QueueLayout { used: HIGH_END - 72, ..good },
    ] {
        assert!(ring.try_virtqueue(layout).is_ok(), "{layout:x?}");
    }
}

#[test]
fn q12_buffers_over_the_rings_themselves_hurt_only_the_guest() {
    let layout = ring().layout;
    for (area, survives) in [(layout.desc, false), (layout.avail, true), (layout.used, true)] {
        let mut ring = ring();
        ring.set_descriptor(0, Descriptor::new(area, 64, WRITE, 0));
        ring.offer(0);
        let mut queue = ring.virtqueue();
        let chain = queue.pop().unwrap().unwrap();
        queue.write(chain.writable[0].addr, &[0xff; 64]).unwrap();
        queue.push(chain.head, 64).unwrap();
        ring.offer(0);
        // The driver repaired the indices when it offered again, but not the descriptor.
        assert_eq!(queue.pop().is_ok(), survives, "ring at {area:#x}");
    }
}

#[test]
fn q13_no_interrupt_is_obeyed_and_only_pushed_buffers_interrupt() {
    let mut driver = MockDriver::new(&[SIZE]);
    let ring = &mut driver.rings[0];
    let mut queue = ring.virtqueue();
    let mut serve = |ring: &mut Ring| {
        let head = ring.add(&[b"x"], &[]).head;
        queue.pop().unwrap().unwrap();
        queue.push(head, 0).unwrap();
        queue.publish().unwrap();
        queue.publish().unwrap();
        ring.used();
        ring.interrupts.seen().queues[0]
    };
    assert_eq!(serve(ring), 1);
    ring.set_avail_flags(1);
    assert_eq!(serve(ring), 1);
    ring.set_avail_flags(0xfffe);
    assert_eq!(serve(ring), 2);
}

#[test]
fn q13_event_index_interrupts_once_when_it_is_passed() {
    let mut driver = MockDriver::with_event_idx(&[SIZE], true);
    let ring = &mut driver.rings[0];
    let mut queue = ring.virtqueue();
    ring.set_used_event(2);
    for served in 1..=6 {
        let head = ring.add(&[b"x"], &[]).head;
        queue.pop().unwrap().unwrap();
        queue.push(head, 0).unwrap();
        queue.publish().unwrap();
        assert_eq!(ring.interrupts.seen().queues[0], u32::from(served >= 3), "after {served}");
    }
    // NO_INTERRUPT means nothing here, and a lie only costs the driver its interrupt.
    ring.used();
    ring.set_avail_flags(1);
    for lie in [0, 5, 0x8000, u16::MAX] {
        ring.set_used_event(lie);
        let head = ring.add(&[b"x"], &[]).head;
        queue.pop().unwrap().unwrap();
        queue.push(head, 0).unwrap();
        queue.publish().unwrap();
        ring.used();
    }
}

#[test]
fn q13_doorbells_are_asked_for_and_spared() {
    let mut driver = MockDriver::new(&[SIZE]);
    let ring = &mut driver.rings[0];
    let mut queue = ring.virtqueue();
    queue.disable_doorbell().unwrap();
    assert_eq!(ring.used_flags(), 1);
    ring.add(&[b"x"], &[]);
    assert!(queue.enable_doorbell().unwrap(), "came in meanwhile");
    assert_eq!(ring.used_flags(), 0);
    queue.pop().unwrap().unwrap();
    assert!(!queue.enable_doorbell().unwrap());

    let mut driver = MockDriver::with_event_idx(&[SIZE], true);
    let ring = &mut driver.rings[0];
    let mut queue = ring.virtqueue();
    ring.add(&[b"x"], &[]);
    queue.pop().unwrap().unwrap();
    assert!(!queue.enable_doorbell().unwrap());
    assert_eq!(ring.avail_event(), 1);
}

#[test]
fn q15_a_flood_of_doorbells_is_one_wake_up() {
    let mut ring = ring();
    let mut queue = ring.virtqueue();
    for _ in 0..1_000_000 {
        ring.kick();
    }
    ring.kick.wait();
    assert!(queue.pop().unwrap().is_none());
    ring.add(&[b"x"], &[]);
    assert!(queue.pop().unwrap().is_some());
}

#[test]
fn several_chains_come_back_at_once_across_the_rings_end() {
    for event_idx in [false, true] {
        let mut driver = MockDriver::with_event_idx(&[8], event_idx);
        let ring = &mut driver.rings[0];
        let mut queue = ring.virtqueue();
        for round in 0..20 {
            (0..3).for_each(|_| drop(ring.add(&[], &[16])));
            let heads: Vec<_> = (0..3).map(|step| (queue.pop().unwrap().unwrap().head, round + step)).collect();
            queue.push_all(&heads).unwrap();
            queue.push_all(&[]).unwrap();
            queue.publish().unwrap();
            let used: Vec<_> = ring.used().iter().map(|used| (used.head, used.len)).collect();
            assert_eq!(used, heads);
        }
        assert_eq!(driver.interrupts.seen().queues[0], 20, "one interrupt for each three");
    }
}
