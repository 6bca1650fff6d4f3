//! The whole device behind a guest: dials, listeners, resets, broken rings, many streams at once.

use std::io::ErrorKind;
use std::time::Duration;

use lighter_protocol::ports::GUEST_CID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::guest::{ECHO, Guest, LIAR, SILENT, STARVE, beside, machine};
use crate::virtio::device::VirtioDevice;
use crate::virtio::mock::Descriptor;
use crate::virtio::vsock::{DialError, GuestStream, Vsock, VsockHandle};

const SHORT: Duration = Duration::from_millis(50);

async fn echo(handle: &VsockHandle, data: &[u8]) {
    let stream = handle.dial(ECHO).await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let mut back = Vec::new();
    let (wrote, read) = tokio::join!(
        async {
            to.write_all(data).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut back)
    );
    wrote.unwrap();
    assert_eq!(read.unwrap(), data.len());
    assert!(back == data, "the echo differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_ends_by_half_close_both_ways_with_and_without_event_idx() {
    for event_idx in [false, true] {
        for rx_sizes in [&[4096][..], &[44, 45, 100, 4096], &[3, 46]] {
            let (_device, handle, guest) = machine(event_idx, rx_sizes);
            beside(guest, async {
                echo(&handle, b"").await;
                echo(&handle, b"hi").await;
                echo(&handle, &vec![42; 20_000]).await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_vectored_write_sends_its_parts_in_order() {
    let (_device, handle, guest) = machine(true, &[4096]);
    beside(guest, async {
        let mut stream = handle.dial(ECHO).await.unwrap();
        let parts = [&b"one "[..], b"", b"two ", b"three"].map(std::io::IoSlice::new);
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), 13);
        let huge = vec![1; 1 << 20];
        let parts = [&b"!"[..], &huge].map(std::io::IoSlice::new);
        let count = stream.write_vectored(&parts).await.unwrap();
        assert!((2..huge.len()).contains(&count), "as much as fits");
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(&back[..14], b"one two three!");
        assert_eq!(back.len(), 13 + count);
    })
    .await;
}

#[tokio::test]
async fn a_dial_is_refused_times_out_or_waits_for_the_driver() {
    let (mut device, handle) = Vsock::new(GUEST_CID);
    assert_eq!(handle.dial_within(ECHO, SHORT).await.unwrap_err(), DialError::NotRunning);
    let early = tokio::spawn({
        let handle = handle.clone();
        async move { echo(&handle, b"early").await }
    });
    tokio::task::yield_now().await;
    let mut guest = Guest::new(&[128, 128], true, &[4096]);
    guest.start(&mut device);
    beside(guest, async {
        early.await.unwrap();
        assert_eq!(handle.dial(99).await.unwrap_err(), DialError::Refused { port: 99 });
        assert_eq!(handle.dial_within(SILENT, SHORT).await.unwrap_err(), DialError::TimedOut { port: SILENT });
        drop(device);
        assert_eq!(handle.dial(ECHO).await.unwrap_err(), DialError::NotRunning);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v8_a_thousand_connections_go_on_while_one_starves() {
    let (_device, handle, guest) = machine(true, &[4096]);
    beside(guest, async {
        let mut starved = handle.dial(STARVE).await.unwrap();
        let stuck = tokio::spawn(async move { starved.write_all(&vec![0; 1 << 20]).await });
        let tasks: Vec<_> = (0..1000usize)
            .map(|n| {
                let handle = handle.clone();
                tokio::spawn(async move { echo(&handle, &vec![n as u8; 100 + n * 10]).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(!stuck.is_finished(), "only the starved writer waits");
        stuck.abort();
    })
    .await;
}

#[tokio::test]
async fn v13_the_guest_reaches_listened_ports_only() {
    let (device, handle, mut guest) = machine(true, &[4096]);
    let mut incoming = handle.listen(1024);
    guest.connect(1023, 7000);
    guest.connect(1024, 7001);
    beside(guest, async {
        let mut stream = incoming.accept().await.unwrap();
        stream.write_all(b"welcome").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut successor = handle.listen(1024);
        assert!(incoming.accept().await.is_none(), "the port was taken over");
        drop(incoming);
        drop(device);
        assert!(successor.accept().await.is_none(), "the machine is gone");
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn v14_credit_broken_by_the_guest_resets_the_stream() {
    let (_device, handle, guest) = machine(true, &[4096]);
    beside(guest, async {
        let mut stream = handle.dial(LIAR).await.unwrap();
        // Nothing is read until the guest has overrun the window, which the failing write shows.
        while stream.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
        let mut got = Vec::new();
        assert_eq!(stream.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(got.len(), 256 * 1024, "what was within the window is delivered");
    })
    .await;
}

async fn assert_reset(stream: &mut GuestStream) {
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(stream.write_u8(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q17_a_driver_reset_resets_streams_and_the_next_driver_is_served() {
    let (mut device, handle, mut guest) = machine(true, &[4096]);
    for _ in 0..20 {
        let dial = handle.dial(ECHO);
        tokio::pin!(dial);
        let mut stream = loop {
            tokio::select! {
                stream = &mut dial => break stream.unwrap(),
                () = tokio::task::yield_now() => { guest.step(); }
            }
        };
        let reader = tokio::spawn(async move {
            assert_reset(&mut stream).await;
        });
        device.reset();
        tokio::time::timeout(Duration::from_secs(20), reader).await.expect("a reset ends every stream").unwrap();
        guest.restart(&mut device);
    }
    beside(guest, echo(&handle, b"after twenty resets")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q5_a_broken_ring_stops_the_device_until_it_is_reset() {
    for queue in [0, 1] {
        let (mut device, handle, mut guest) = machine(true, &[4096]);
        let dial = handle.dial(ECHO);
        tokio::pin!(dial);
        let mut stream = loop {
            tokio::select! {
                stream = &mut dial => break stream.unwrap(),
                () = tokio::task::yield_now() => { guest.step(); }
            }
        };
        let ring = &mut guest.driver.rings[queue];
        (0..256).for_each(|index| ring.set_descriptor(index, Descriptor::new(u64::MAX - 5, 100, 2, 0)));
        ring.offer(0);
        stream.write_all(b"makes the device look for a buffer").await.unwrap();
        ring.kick();
        guest.driver.interrupts.until("needs_reset", |seen| seen.needs_reset == 1).await;
        assert_reset(&mut stream).await;
        device.reset();
        guest.restart(&mut device);
        beside(guest, echo(&handle, b"whole again")).await;
    }
}

#[tokio::test]
async fn v9_packets_without_a_whole_header_are_given_back_and_ignored() {
    let (_device, handle, mut guest) = machine(true, &[4096]);
    let ring = &mut guest.driver.rings[1];
    for len in [1, 43] {
        ring.add(&[&vec![0xFF; len]], &[]);
    }
    ring.add(&[], &[100]);
    ring.kick();
    assert!(ring.next_used(3).await.iter().all(|used| used.len == 0));
    assert_eq!(guest.driver.interrupts.seen().needs_reset, 0);
    guest.offered[1] = 3;
    beside(guest, echo(&handle, b"fine")).await;
}

#[tokio::test]
async fn v15_garbage_in_the_event_queue_changes_nothing() {
    let (_device, handle, mut guest) = machine(true, &[4096]);
    let ring = &mut guest.driver.rings[2];
    ring.set_descriptor(0, Descriptor::new(u64::MAX, u32::MAX, 7, 0xFFFF));
    ring.offer(0);
    ring.set_avail_index(0x8000);
    ring.kick();
    beside(guest, echo(&handle, b"untouched")).await;
}

#[test]
fn configuration_space_is_the_context_id_and_nothing_behind_it() {
    let (device, _handle) = Vsock::new(0x0102_0304_0506_0708);
    let mut data = [0xEE; 4];
    device.read_config(6, &mut data);
    assert_eq!(data, [2, 1, 0xEE, 0xEE]);
    device.read_config(u64::MAX, &mut data);
    assert_eq!(data, [2, 1, 0xEE, 0xEE]);
    assert_eq!((device.device_type(), device.queue_sizes().len()), (19, 3));
}
