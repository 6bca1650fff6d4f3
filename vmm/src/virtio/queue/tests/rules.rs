//! What a chain of descriptors may be (Q1–Q8).

use super::*;

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

/// A queue in a machine with a window above its RAM, to which these descriptors were offered and then one within RAM.
fn beside_a_window(descriptors: &[Descriptor]) -> (Ring, Virtqueue) {
    let mut ring = ring();
    for (index, &descriptor) in (0..).zip(descriptors) {
        ring.set_descriptor(index, descriptor);
    }
    ring.offer(0);
    ring.set_descriptor(7, single(BUFFER, 3));
    ring.offer(7);
    let queue = ring.virtqueue().beside(Arc::new([Region { base: WINDOW, len: 0x1000 }]));
    (ring, queue)
}

const WINDOW: u64 = 8 << 30;

#[test]
fn d4_a_buffer_in_a_window_costs_its_own_request_alone() {
    let within = [chained(BUFFER, 2, 1), Descriptor::new(WINDOW + 0xfff, 1, WRITE, 0)];
    let (mut ring, mut queue) = beside_a_window(&within);
    assert_eq!(queue.pop().unwrap().unwrap().head, 7, "the first one is given back undone");
    let used = ring.wait_used(1);
    assert_eq!((used[0].head, used[0].len), (0, 0));

    let (_ring, mut queue) = beside_a_window(&within);
    let chain = queue.pop_from_anywhere().unwrap().unwrap();
    assert!(chain.in_window && chain.head == 0 && chain.readable_len() == 2 && chain.writable_len() == 1);
    let plain = queue.pop_from_anywhere().unwrap().unwrap();
    assert!(!plain.in_window && plain.head == 7);
}

#[test]
fn d4_beyond_the_window_is_still_nowhere() {
    for (addr, len) in [(WINDOW - 1, 1), (WINDOW - 1, 2), (WINDOW + 0xfff, 2), (WINDOW + 0x1000, 1), (u64::MAX, 1)] {
        let (_ring, mut queue) = beside_a_window(&[single(addr, len)]);
        refused(pop(&mut queue), "outside guest memory");
    }
    // Without a window it is nowhere, and neither rings nor tables are ever taken from one.
    refused(offer(&[single(WINDOW, 1)]), "outside guest memory");
    let (_ring, mut queue) = beside_a_window(&[Descriptor::new(WINDOW, 16, INDIRECT, 0)]);
    refused(pop(&mut queue), "table outside");
}
