//! Descriptors at random, and rewritten while they are read (Q18).

use super::*;

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
