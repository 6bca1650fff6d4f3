//! The queue against a hostile driver: catalogue entries Q1–Q13, Q15, Q18, and chains made of random descriptors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::virtio::mock::{Descriptor, HIGH_BASE, HIGH_END, INDIRECT, LOW_END, MockDriver, NEXT, Ring, WRITE};

const SIZE: u16 = 8;
const BUFFER: u64 = 9 << 20;

fn ring() -> Ring {
    MockDriver::new(&[SIZE]).rings.remove(0)
}

/// What `pop` says to a chain of these descriptors, at indices 0, 1, …, offered by its head 0.
fn offer(descriptors: &[Descriptor]) -> Result<Chain, String> {
    let mut ring = ring();
    for (index, &descriptor) in (0..).zip(descriptors) {
        ring.set_descriptor(index, descriptor);
    }
    ring.offer(0);
    pop(&mut ring.virtqueue())
}

/// What `pop` says to descriptor 0 naming an indirect table of these.
fn offer_table(descriptors: &[Descriptor]) -> Result<Chain, String> {
    let mut ring = ring();
    let table = ring.indirect_table(descriptors);
    ring.set_descriptor(0, Descriptor::new(table, descriptors.len() as u32 * 16, INDIRECT, 0));
    ring.offer(0);
    pop(&mut ring.virtqueue())
}

fn pop(queue: &mut Virtqueue) -> Result<Chain, String> {
    queue.pop().map(|chain| chain.expect("one is offered")).map_err(|error| error.to_string())
}

fn chained(addr: u64, len: u32, next: u16) -> Descriptor {
    Descriptor::new(addr, len, NEXT, next)
}

fn single(addr: u64, len: u32) -> Descriptor {
    Descriptor::new(addr, len, 0, 0)
}

/// `n` one-byte descriptors chained in order.
fn row(n: u16) -> Vec<Descriptor> {
    (0..n).map(|i| Descriptor::new(BUFFER, 1, if i + 1 < n { NEXT } else { 0 }, i + 1)).collect()
}

#[track_caller]
fn refused(outcome: Result<Chain, String>, reason: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.contains(reason), "refused for another reason: {error}");
}

#[test]
fn q1_descriptor_loops_are_refused() {
    refused(offer(&[chained(BUFFER, 1, 0)]), "loops");
    refused(offer(&[chained(BUFFER, 1, 1), chained(BUFFER, 1, 0)]), "loops");
    refused(offer_table(&[chained(BUFFER, 1, 1), chained(BUFFER, 1, 0)]), "loops");
}

#[test]
fn q2_a_chain_may_be_as_long_as_the_queue_and_no_longer() {
    assert_eq!(offer(&row(SIZE)).unwrap().readable.len(), usize::from(SIZE));
    assert_eq!(offer_table(&row(SIZE)).unwrap().readable.len(), usize::from(SIZE));
    refused(offer_table(&row(SIZE + 1)), "longer than the queue");
}

#[test]
fn q3_a_head_outside_the_table_is_refused() {
    for head in [SIZE, SIZE + 1, u16::MAX] {
        let mut ring = ring();
        ring.offer(head);
        refused(pop(&mut ring.virtqueue()), "head lies outside");
    }
}

#[test]
fn q4_a_next_outside_the_table_is_refused_not_cut_off() {
    for next in [SIZE, u16::MAX] {
        refused(offer(&[chained(BUFFER, 1, next)]), "next lies outside");
    }
    refused(offer_table(&[chained(BUFFER, 1, 1)]), "next lies outside");
}

#[test]
fn q5_buffers_outside_ram_are_refused() {
    let outside = [
        (LOW_END, 1),
        (LOW_END - 1, 2),
        (LOW_END - 1, u32::MAX),
        (HIGH_BASE - 1, 1),
        (HIGH_BASE - 1, 2),
        (HIGH_END - 1, 2),
        (HIGH_END, 1),
        (u64::MAX, 1),
        (u64::MAX, 2),
        (u64::MAX - 1, u32::MAX),
        (0xd000_0000, 4),
    ];
    for (addr, len) in outside {
        refused(offer(&[single(addr, len)]), "outside guest memory");
        refused(offer_table(&[chained(BUFFER, 1, 1), single(addr, len)]), "outside guest memory");
    }
    for (addr, len) in [(0, 1), (LOW_END - 1, 1), (HIGH_BASE, 1), (HIGH_END - 1, 1), (0, LOW_END as u32)] {
        assert_eq!(offer(&[single(addr, len)]).unwrap().readable[0], Span { addr: GuestAddress(addr), len });
    }
}

#[test]
fn q6_empty_and_huge_lengths_are_refused() {
    refused(offer(&[single(BUFFER, 0)]), "empty");
    refused(offer(&[chained(BUFFER, 1, 1), Descriptor::new(BUFFER, 0, WRITE, 0)]), "empty");
    refused(offer(&[single(BUFFER, u32::MAX)]), "outside guest memory");
    assert_eq!(offer(&[single(BUFFER, 1)]).unwrap().readable_len(), 1);
    // 16 MiB 256 times is 4 GiB; a single chain of a large queue can say so.
    let mut ring = MockDriver::new(&[512]).rings.remove(0);
    let table: Vec<_> =
        (0..256).map(|i| Descriptor::new(0, LOW_END as u32, if i < 255 { NEXT } else { 0 }, i + 1)).collect();
    let addr = ring.indirect_table(&table);
    ring.set_descriptor(0, Descriptor::new(addr, 256 * 16, INDIRECT, 0));
    ring.set_descriptor(1, Descriptor::new(addr + 16, 255 * 16, INDIRECT, 0));
    ring.offer(0);
    let mut queue = ring.virtqueue();
    refused(pop(&mut queue), "more than 4 GiB");
}

#[test]
fn q7_indirect_tables_obey_the_rules() {
    let within = |table: u64, len, flags| {
        let mut ring = ring();
        ring.set_descriptor(0, Descriptor::new(table, len, INDIRECT | flags, 1));
        ring.set_descriptor(1, single(BUFFER, 1));
        ring.ram.write(BUFFER, &[0; 64]);
        ring.offer(0);
        pop(&mut ring.virtqueue())
    };
    for len in [0, 1, 15, 17, u32::MAX] {
        refused(within(BUFFER, len, 0), "multiple of 16");
    }
    refused(within(BUFFER, 16, NEXT), "with a next one");
    refused(within(LOW_END, 16, 0), "table outside");
    refused(within(LOW_END - 8, 16, 0), "table outside");
    refused(within(u64::MAX - 15, 32, 0), "table outside");
    refused(within(u64::MAX - 7, 16, 0), "table outside");
    refused(offer_table(&[Descriptor::new(BUFFER, 16, INDIRECT, 0)]), "within an indirect table");

    // A table longer than the queue is no harm while the chain in it is short. WRITE on it means nothing.
    let mut ring = ring();
    let mut table = vec![Descriptor::default(); 100];
    table[0] = chained(BUFFER, 3, 99);
    table[99] = Descriptor::new(BUFFER, 4, WRITE, 0);
    let addr = ring.indirect_table(&table);
    ring.set_descriptor(5, chained(BUFFER, 2, 6));
    ring.set_descriptor(6, Descriptor::new(addr, 1600, INDIRECT | WRITE, 0));
    ring.offer(5);
    let chain = pop(&mut ring.virtqueue()).unwrap();
    assert_eq!((chain.head, chain.readable_len(), chain.writable_len()), (5, 5, 4));
}

#[test]
fn q8_readable_after_writable_is_refused() {
    let writable = Descriptor::new(BUFFER, 1, WRITE | NEXT, 1);
    refused(offer(&[writable, single(BUFFER, 1)]), "after a writable one");
    refused(offer_table(&[writable, single(BUFFER, 1)]), "after a writable one");
}

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
fn q18_a_descriptor_rewritten_meanwhile_is_used_as_it_was_checked() {
    let mut ring = ring();
    let mut queue = ring.virtqueue();
    let (ram, at, stop) = (ring.ram.clone(), ring.layout.desc, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ram.write(at, &BUFFER.to_le_bytes());
                ram.write(at + 8, &1u32.to_le_bytes());
                ram.write(at, &(HIGH_END - 1).to_le_bytes());
                ram.write(at + 8, &u32::MAX.to_le_bytes());
            }
        });
        ring.set_descriptor(0, single(BUFFER, 1));
        for _ in 0..50_000 {
            ring.offer(0);
            if let Ok(chain) = queue.pop() {
                let span = chain.expect("one is offered").readable[0];
                assert!(queue.memory().check_range(span.addr, span.len as usize), "{span:?}");
                queue.push(0, 0).unwrap();
                ring.used();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Addresses near every edge there is, or anywhere.
fn address() -> impl Strategy<Value = u64> {
    let edges = [0, LOW_END, HIGH_BASE, HIGH_END, BUFFER, 0x1000, u64::MAX];
    prop_oneof![
        3 => (0..edges.len(), -40i64..40).prop_map(move |(n, by)| edges[n].wrapping_add_signed(by)),
        1 => any::<u64>(),
    ]
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let len = prop_oneof![0u32..70, Just(16), Just(LOW_END as u32), any::<u32>()];
    let next = prop_oneof![0u16..SIZE + 2, any::<u16>()];
    (address(), len, 0u16..8, next).prop_map(|(addr, len, flags, next)| Descriptor { addr, len, flags, next })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_tables_never_panic_and_never_lend_memory_outside_ram(
        table in proptest::collection::vec(descriptor(), usize::from(SIZE)),
        inner in proptest::collection::vec(descriptor(), 1..20),
        heads in proptest::collection::vec(prop_oneof![0u16..SIZE, any::<u16>()], 0..12),
        jump in prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
    ) {
        let mut ring = ring();
        let at = ring.indirect_table(&inner);
        for (index, mut descriptor) in (0..).zip(table) {
            if descriptor.flags & INDIRECT != 0 && index % 2 == 0 {
                (descriptor.addr, descriptor.len) = (at, inner.len() as u32 * 16);
            }
            ring.set_descriptor(index, descriptor);
        }
        let count = heads.len();
        for head in heads {
            ring.offer(head);
        }
        if jump != 0 {
            ring.set_avail_index(jump);
        }
        let mut queue = ring.virtqueue();
        for _ in 0..=count {
            let Ok(Some(chain)) = queue.pop() else { break };
            prop_assert!((1..=usize::from(SIZE)).contains(&chain.parts()));
            for span in chain.readable.iter().chain(&chain.writable) {
                let end = span.addr.0.checked_add(u64::from(span.len)).unwrap();
                prop_assert!(span.len > 0 && (end <= LOW_END || (span.addr.0 >= HIGH_BASE && end <= HIGH_END)));
            }
            queue.push(chain.head, 0).unwrap();
            queue.publish().unwrap();
        }
    }
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
