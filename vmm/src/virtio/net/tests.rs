//! The network device against the mock driver: frames both ways, merged buffers, back-pressure, and every lie of catalogue N1.

use super::header::{F_CSUM, F_GUEST_CSUM, F_MRG_RXBUF};
use super::*;
use crate::virtio::device::VirtioDevice;
use crate::virtio::mock::{Descriptor, LOW_END, MockDriver};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const RX: usize = 0;
const TX: usize = 1;

fn plain() -> [u8; header::LENGTH] {
    Offload::default().to_wire(0)
}

fn frame(length: usize) -> Frame {
    Frame { offload: Offload::default(), bytes: (0..length).map(|at| (at * 7 + at / 251) as u8).collect() }
}

/// A device with a driver that negotiated `features`.
fn pair(features: u64) -> (Net, HostEnd, MockDriver) {
    let (mut device, host) = link(MAC, LARGEST_MTU);
    let driver = MockDriver::with_event_idx(device.queue_sizes(), true);
    driver.activate(&mut device, features);
    (device, host, driver)
}

fn everything() -> (Net, HostEnd, MockDriver) {
    let (mut device, host) = link(MAC, LARGEST_MTU);
    let driver = MockDriver::for_device(&mut device);
    (device, host, driver)
}

#[test]
fn the_configuration_space_says_address_status_and_mtu_and_nothing_beyond() {
    let (device, _host) = link(MAC, 9000);
    let mut data = [0xaa; 16];
    device.read_config(0, &mut data);
    assert_eq!(data[..6], MAC);
    assert_eq!(data[6..12], [1, 0, 1, 0, 0x28, 0x23]);
    assert_eq!(data[12..], [0xaa; 4]);
    for offset in [12, 13, u64::MAX] {
        let mut byte = [0x55];
        device.read_config(offset, &mut byte);
        assert_eq!(byte, [0x55]);
    }
    let (greedy, _host) = link(MAC, u16::MAX);
    let mut mtu = [0; 2];
    greedy.read_config(10, &mut mtu);
    assert_eq!(u16::from_le_bytes(mtu), LARGEST_MTU);
}

#[tokio::test]
async fn frames_of_the_guest_arrive_whole_however_they_are_split() {
    let (_device, mut host, mut driver) = everything();
    let want = frame(LONGEST_FRAME);
    let bytes = &want.bytes;
    let (joined, apart) = ([&plain()[..], bytes].concat(), plain());
    driver.rings[TX].add(&[&joined], &[]);
    driver.rings[TX].add(&[&apart, bytes], &[]);
    driver.rings[TX].add_indirect(&[&joined[..5], &joined[5..20], &joined[20..]], &[]);
    driver.rings[TX].kick();
    assert_eq!(driver.rings[TX].next_used(3).await.iter().map(|used| used.len).sum::<u32>(), 0);
    for _ in 0..3 {
        assert!(host.receive().await.unwrap() == want);
    }
}

#[tokio::test]
async fn a_large_frame_fills_several_buffers_and_all_come_back_at_once() {
    let (_device, host, mut driver) = everything();
    let sent = frame(40_000);
    let requests: Vec<_> = (0..30).map(|_| driver.rings[RX].add(&[], &[1536])).collect();
    host.sender().send(sent.clone()).await.unwrap();
    // The first interrupt already shows all of them: a driver that finds fewer than the header says drops the frame.
    driver.interrupts.until("the first interrupt", |seen| seen.queues[RX] == 1).await;
    let used = driver.rings[RX].used();
    let needed = (sent.bytes.len() + header::LENGTH).div_ceil(1536);
    assert_eq!(used.len(), needed);
    let got: Vec<u8> = used.iter().zip(&requests).flat_map(|(used, request)| request.written(used)).collect();
    assert_eq!(got[..header::LENGTH], Offload::default().to_wire(needed as u16));
    assert!(got[header::LENGTH..] == sent.bytes);
}

#[tokio::test]
async fn a_frame_waits_for_buffers_and_loses_none_of_them() {
    let (_device, host, mut driver) = everything();
    let sent = frame(4000);
    host.sender().send(sent.clone()).await.unwrap();
    let mut requests = Vec::new();
    for _ in 0..3 {
        requests.push(driver.rings[RX].add(&[], &[1500]));
        driver.rings[RX].kick();
        tokio::task::yield_now().await;
    }
    let used = driver.rings[RX].next_used(3).await;
    let got: Vec<u8> = used.iter().zip(&requests).flat_map(|(used, request)| request.written(used)).collect();
    assert!(got[header::LENGTH..] == sent.bytes);
}

#[tokio::test]
async fn n1_runts_giants_and_lies_are_dropped_and_the_next_frame_passes() {
    let (_device, mut host, mut driver) = everything();
    let good = frame(60);
    for length in [0, 1, header::LENGTH - 1, header::LENGTH, header::LENGTH + 1, header::LENGTH + ETHERNET - 1] {
        // A chain has at least one byte to read or to write.
        driver.rings[TX].add(&[&vec![0; length.max(1)][..]], &[]);
    }
    driver.rings[TX].add(&[&[&plain()[..], &vec![0; LONGEST_FRAME + 1]].concat()], &[]);
    driver.rings[TX].add(&[], &[64]);
    let mut liar = plain();
    (liar[0], liar[6]) = (1, 200);
    driver.rings[TX].add(&[&[&liar[..], &good.bytes].concat()], &[]);
    driver.rings[TX].add(&[&[&plain()[..], &good.bytes].concat()], &[]);
    driver.rings[TX].kick();
    driver.rings[TX].next_used(10).await;
    assert_eq!(host.receive().await.unwrap(), good);
    assert_eq!(driver.interrupts.seen().needs_reset, 0);
}

#[tokio::test]
async fn n1_a_ring_of_buffers_too_small_for_a_frame_costs_that_frame_only() {
    let (_device, host, mut driver) = everything();
    let (large, small) = (frame(60_000), frame(20));
    host.sender().send(large).await.unwrap();
    host.sender().send(small.clone()).await.unwrap();
    for _ in 0..1024 {
        driver.rings[RX].add(&[], &[40]);
    }
    driver.rings[RX].kick();
    let useless = driver.rings[RX].next_used(1024).await;
    assert!(useless.iter().all(|used| used.len == 0));
    let request = driver.rings[RX].add(&[], &[40]);
    driver.rings[RX].kick();
    let used = driver.rings[RX].next_used(1).await;
    assert_eq!(request.written(&used[0])[header::LENGTH..], small.bytes);
}

#[tokio::test]
async fn without_merging_a_buffer_takes_one_frame_or_none() {
    let (_device, host, mut driver) = pair(F_CSUM);
    let (large, small) = (frame(2000), frame(100));
    let requests: Vec<_> = (0..2).map(|_| driver.rings[RX].add(&[], &[1526])).collect();
    host.sender().send(large).await.unwrap();
    host.sender().send(small.clone()).await.unwrap();
    let used = driver.rings[RX].next_used(2).await;
    assert_eq!(used[0].len, 0);
    let got = requests[1].written(&used[1]);
    assert_eq!(got[..header::LENGTH], Offload::default().to_wire(1));
    assert_eq!(got[header::LENGTH..], small.bytes);
}

#[tokio::test]
async fn an_offload_that_the_driver_does_not_take_is_never_sent() {
    let (_device, host, mut driver) = pair(F_MRG_RXBUF);
    assert_eq!(host.sender().accepts(), Accepts::default());
    let sum = Some(Checksum { start: 34, offset: 16 });
    let offload = Offload { checksum: sum, segmentation: None };
    host.sender().send(Frame { offload, ..frame(100) }).await.unwrap();
    host.sender().send(frame(70)).await.unwrap();
    let request = driver.rings[RX].add(&[], &[1500]);
    driver.rings[RX].kick();
    let used = driver.rings[RX].next_used(1).await;
    assert_eq!(request.written(&used[0])[header::LENGTH..], frame(70).bytes);
    let (_device, host, _driver) = pair(F_MRG_RXBUF | F_GUEST_CSUM);
    assert!(host.sender().accepts().partial_checksums && !host.sender().accepts().segments_v4);
}

#[tokio::test]
async fn a_stack_that_takes_nothing_leaves_the_rest_in_the_ring() {
    let (_device, mut host, mut driver) = everything();
    let bytes = [&plain()[..], &frame(64).bytes].concat();
    let ring = &mut driver.rings[TX];
    (0..200).for_each(|_| drop(ring.add(&[&bytes], &[])));
    ring.kick();
    ring.next_used(200).await;
    (0..100).for_each(|_| drop(ring.add(&[&bytes], &[])));
    ring.kick();
    ring.next_used(QUEUED_FRAMES - 200).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(ring.used().is_empty(), "more frames were taken than may wait");
    for _ in 0..300 {
        assert_eq!(host.receive().await.unwrap(), frame(64));
    }
    ring.next_used(300 - QUEUED_FRAMES).await;
}

#[tokio::test]
async fn a_guest_that_takes_nothing_stops_the_stack() {
    let (_device, host, mut driver) = everything();
    let sender = host.sender();
    let mut sent = 0;
    while sender.try_send(frame(64)).is_ok() {
        sent += 1;
        tokio::task::yield_now().await;
    }
    // One more than the queue holds waits in the device for a buffer.
    assert!((QUEUED_FRAMES..=QUEUED_FRAMES + 1).contains(&sent), "{sent} frames were taken");
    assert_eq!(sender.try_send(frame(64)), Err(SendError::Full));
    for _ in 0..sent {
        driver.rings[RX].add(&[], &[1500]);
    }
    driver.rings[RX].kick();
    driver.rings[RX].next_used(sent).await;
    assert_eq!(sender.try_send(frame(64)), Ok(()));
}

#[tokio::test]
async fn frames_without_a_stack_go_nowhere_and_the_device_end_tells_the_stack() {
    let (device, host, mut driver) = everything();
    let sender = host.sender();
    drop(host);
    let bytes = [&plain()[..], &frame(64).bytes].concat();
    driver.rings[TX].add(&[&bytes], &[]);
    driver.rings[TX].kick();
    driver.rings[TX].next_used(1).await;
    drop(device);
    assert_eq!(sender.send(frame(64)).await, Err(SendError::Gone));
    assert_eq!(sender.try_send(frame(64)), Err(SendError::Gone));
}

#[tokio::test]
async fn q5_a_broken_chain_stops_the_device_and_a_reset_revives_it() {
    let (mut device, mut host, mut driver) = everything();
    driver.rings[TX].set_descriptor(0, Descriptor::new(LOW_END, 8, 0, 0));
    driver.rings[TX].offer(0);
    driver.rings[TX].kick();
    driver.interrupts.until("NEEDS_RESET", |seen| seen.needs_reset == 1).await;
    assert_eq!(host.sender().accepts(), Accepts::default());
    device.reset();
    let mut driver = MockDriver::for_device(&mut device);
    driver.rings[TX].add(&[&[&plain()[..], &frame(64).bytes].concat()], &[]);
    driver.rings[TX].kick();
    assert_eq!(host.receive().await.unwrap(), frame(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q17_after_reset_the_device_touches_nothing() {
    let (mut device, host) = link(MAC, LARGEST_MTU);
    let sender = host.sender();
    for _ in 0..100 {
        let mut driver = MockDriver::for_device(&mut device);
        let ring = &mut driver.rings[RX];
        let requests: Vec<_> = (0..64).map(|_| ring.add(&[], &[4096])).collect();
        (0..32).for_each(|_| _ = sender.try_send(frame(9000)));
        ring.kick();
        device.reset();
        let content = || requests.iter().map(|request| request.writable_bytes()).collect::<Vec<_>>();
        let (before, index) = (content(), ring.ram.read(ring.layout.used + 2, 2));
        let _taken_or_full = sender.try_send(frame(9000));
        ring.kick();
        tokio::task::yield_now().await;
        assert!(before == content() && index == ring.ram.read(ring.layout.used + 2, 2));
    }
}
