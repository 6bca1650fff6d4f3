//! Single rounds of the service, driven by hand: a guest that adds chains in the very moment between our last look at a ring
//! and our asking for its doorbell must not be left waiting.

use std::sync::{Arc, Mutex};

use lighter_protocol::ports::{GUEST_CID, HOST_CID};

use crate::virtio::device::Interrupt;
use crate::virtio::mock::{MockDriver, Ring};
use crate::virtio::queue::{QueueConfig, Virtqueue};
use crate::virtio::vsock::handle::Shared;
use crate::virtio::vsock::packet::{HEADER_LEN, Header, Op, TYPE_STREAM};
use crate::virtio::vsock::service::{Next, Service};

/// Both rings as the driver holds them; adds a chain whenever it is interrupted, as often as it was told to.
struct Racer {
    rings: Mutex<[Ring; 2]>,
    more: Mutex<[u32; 2]>,
    done: Mutex<[usize; 2]>,
}

impl Racer {
    fn add(&self, index: usize) {
        let mut rings = self.rings.lock().unwrap();
        if index == 0 {
            rings[0].add(&[], &[4096]);
            return;
        }
        let header = Header { src_cid: GUEST_CID, dst_cid: HOST_CID, kind: TYPE_STREAM, ..Header::default() };
        rings[1].add(&[&Header { op: Op::Rst as u16, ..header }.to_wire()], &[]);
    }

    /// Chains given back so far; asks to be interrupted for the next one.
    fn used(&self, index: usize) -> usize {
        let done = &mut self.done.lock().unwrap()[index];
        *done += self.rings.lock().unwrap()[index].used().len();
        *done
    }
}

impl Interrupt for Racer {
    fn queue(&self, index: u16) {
        let index = usize::from(index);
        let more = &mut self.more.lock().unwrap()[index];
        if let Some(left) = more.checked_sub(1) {
            *more = left;
            self.used(index);
            self.add(index);
        }
    }

    fn config(&self) {}

    fn needs_reset(&self) {
        panic!("the rings are in order");
    }
}

fn queue(ring: &Ring, event_idx: bool, interrupt: &Arc<Racer>) -> Virtqueue {
    Virtqueue::new(QueueConfig {
        index: ring.index,
        max_size: ring.layout.size,
        layout: ring.layout,
        event_idx,
        next: 0,
        memory: Arc::clone(&ring.ram.memory),
        kick: Arc::clone(&ring.kick),
        interrupt: Arc::clone(interrupt) as Arc<dyn Interrupt>,
    })
    .unwrap()
}

/// A service without a task. `more`: how often the driver answers an interrupt with another chain, for rx and tx.
fn bench(event_idx: bool, more: [u32; 2]) -> (Arc<Service>, Arc<Shared>, Arc<Racer>) {
    let driver = MockDriver::with_event_idx(&[8, 8], event_idx);
    let rings: [Ring; 2] = driver.rings.try_into().ok().unwrap();
    let racer = Arc::new(Racer { rings: Mutex::new(rings), more: Mutex::new(more), done: Mutex::default() });
    let queues = racer.rings.lock().unwrap().each_ref().map(|ring| queue(ring, event_idx, &racer));
    let [rx, tx] = queues;
    let shared = Shared::new(GUEST_CID);
    let service = Service::new(rx, tx, Arc::clone(&shared), Arc::clone(&racer) as Arc<dyn Interrupt>);
    (service, shared, racer)
}

fn until_it_waits(service: &Service) -> usize {
    (1..100).find(|_| matches!(service.round(), Next::Wait(_))).expect("a service with nothing to do waits")
}

#[test]
fn packets_that_come_while_the_round_ends_are_not_left_on_the_ring() {
    for event_idx in [false, true] {
        let (service, _shared, racer) = bench(event_idx, [0, 3]);
        racer.add(1);
        until_it_waits(&service);
        assert_eq!(racer.used(1), 4, "event_idx {event_idx}");
    }
}

#[test]
fn buffers_that_come_while_the_round_ends_are_not_left_on_the_ring() {
    for event_idx in [false, true] {
        let (service, shared, racer) = bench(event_idx, [3, 0]);
        for port in 0..4 {
            shared.with(|muxer| muxer.connect(port)).unwrap();
        }
        racer.add(0);
        until_it_waits(&service);
        assert_eq!(racer.used(0), 4, "event_idx {event_idx}: every request is out");
    }
}

#[test]
fn a_doorbell_is_asked_for_exactly_where_one_is_needed() {
    let flags = |racer: &Racer| racer.rings.lock().unwrap().each_ref().map(|ring| ring.used_flags());
    let events = |racer: &Racer| racer.rings.lock().unwrap().each_ref().map(|ring| ring.avail_event());

    let (service, shared, racer) = bench(false, [0, 0]);
    assert_eq!(until_it_waits(&service), 1);
    assert_eq!(flags(&racer), [1, 0], "nothing to send: receive buffers are no news");
    shared.with(|muxer| muxer.connect(1)).unwrap();
    assert_eq!(until_it_waits(&service), 1, "and no buffer: wait for one, do not spin");
    assert_eq!(flags(&racer), [0, 0]);

    let (service, shared, racer) = bench(true, [0, 0]);
    shared.with(|muxer| muxer.connect(1)).unwrap();
    racer.add(0);
    racer.add(1);
    until_it_waits(&service);
    shared.with(|muxer| muxer.connect(2)).unwrap();
    until_it_waits(&service);
    assert_eq!(events(&racer), [1, 1], "the next chain of either ring rings");
}

#[test]
fn v9_buffers_without_room_for_a_header_are_given_back_and_the_packet_waits() {
    let (service, shared, racer) = bench(true, [0, 0]);
    shared.with(|muxer| muxer.connect(1)).unwrap();
    for size in [1, HEADER_LEN as u32 - 1] {
        racer.rings.lock().unwrap()[0].add(&[], &[size]);
    }
    until_it_waits(&service);
    let used = racer.rings.lock().unwrap()[0].used();
    assert_eq!(used.iter().map(|used| used.len).collect::<Vec<_>>(), [0, 0]);
    racer.rings.lock().unwrap()[0].add(&[], &[HEADER_LEN as u32]);
    until_it_waits(&service);
    assert_eq!(racer.rings.lock().unwrap()[0].used()[0].len, HEADER_LEN as u32);
}
