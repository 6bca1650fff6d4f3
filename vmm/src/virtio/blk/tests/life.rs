//! Activation, reset and drivers that race with the device (Q14–Q18).

use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::virtio::mock::{Descriptor, NEXT, WRITE};

#[test]
fn q14_requests_from_before_activation_are_served_without_a_doorbell() {
    let (guest, _) = Guest::with_file(MIB);
    let Guest { mut block, .. } = guest;
    block.reset();
    let mut driver = MockDriver::new(block.queue_sizes());
    let request = driver.rings[0].add(&[&header(FLUSH, 0)], &[1]);
    request.writable.iter().for_each(|&(addr, _)| driver.ram.write(addr, &[0xff]));
    let features = block.features();
    driver.activate(&mut block, features);
    driver.rings[0].wait_used(1);
    assert_eq!(request.writable_bytes(), [OK]);
}

#[test]
fn q15_a_flood_of_doorbells_does_not_keep_requests_from_being_served() {
    let (mut guest, _) = Guest::with_file(MIB);
    let kick = Arc::clone(&guest.driver.rings[0].kick);
    let flood = thread::spawn(move || (0..1_000_000).for_each(|_| kick.signal()));
    for _ in 0..100 {
        assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    }
    flood.join().unwrap();
}

/// Begins a read that stays in the disk's hands until the other side says so.
fn read_in_progress() -> (Guest, Request, Receiver<()>, Sender<()>, Arc<AtomicBool>) {
    let ((entered, begun), (go_on, wait)) = (mpsc::channel(), mpsc::channel::<()>());
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    let meanwhile = move |what: &str| match what {
        "read" => {
            entered.send(()).unwrap();
            wait.recv().unwrap();
        }
        _ => finished.store(true, Ordering::SeqCst),
    };
    let mut guest = Guest::with_disk(Scripted { meanwhile: Some(Box::new(meanwhile)), ..Scripted::default() });
    let request = guest.offer(READ, 0, &[], &[512]);
    guest.driver.rings[0].kick();
    (guest, request, begun, go_on, done)
}

#[test]
fn q17_reset_waits_for_the_request_in_flight_and_nothing_is_touched_after_it() {
    let (mut guest, request, begun, go_on, done) = read_in_progress();
    begun.recv().unwrap();
    let second = guest.offer(READ, 0, &[], &[512]);
    let (resetting, reset_begins) = mpsc::channel();
    let done_in_reset = Arc::clone(&done);
    let thread = thread::spawn(move || {
        resetting.send(()).unwrap();
        guest.block.reset();
        (done_in_reset.load(Ordering::SeqCst), guest)
    });
    reset_begins.recv().unwrap();
    // Leave a reset that does not wait every chance to come back first.
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!thread.is_finished(), "reset came back while the disk was reading");
    go_on.send(()).unwrap();
    let (done_before_reset_returned, guest) = thread.join().unwrap();
    assert!(done_before_reset_returned);
    assert_eq!(request.writable_bytes()[..512], [0xaa; 512]);
    assert_eq!(second.writable_bytes(), [0; 513], "served after reset");
    let ring = &guest.driver.rings[0];
    assert_eq!(ring.ram.read(ring.layout.used + 2, 2), [1, 0]);
}

#[test]
fn q17_a_device_reset_or_dropped_again_and_again_goes_on_with_its_disk() {
    let (mut guest, _) = Guest::with_file(MIB);
    for round in 1..100u8 {
        assert_eq!(guest.status(WRITE_DATA, 5, &[&[round; 512]]), OK);
        for sector in 0..20 {
            guest.offer(READ, sector, &[], &[4096]);
        }
        guest.driver.rings[0].kick();
        guest.block.reset();
        guest.block.reset();
        guest.driver.activate_again(&mut guest.block);
        assert_eq!(guest.ask(READ, 5, &[], &[512]), (OK, vec![round; 512]));
    }
}

#[test]
fn a_disk_that_panics_says_so_and_serves_again_after_a_reset() {
    let mut first = true;
    let meanwhile = move |_: &str| assert!(!std::mem::take(&mut first), "on purpose");
    let mut guest = Guest::with_disk(Scripted { meanwhile: Some(Box::new(meanwhile)), ..Scripted::default() });
    guest.offer(FLUSH, 0, &[], &[]);
    guest.driver.rings[0].kick();
    guest.driver.interrupts.wait_until("NEEDS_RESET", |seen| seen.needs_reset == 1);
    guest.block.reset();
    let mut guest = Guest::with(guest.block);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
    assert_eq!(guest.driver.interrupts.seen().needs_reset, 0);
}

#[test]
fn q18_a_header_rewritten_meanwhile_is_used_as_it_was_checked() {
    let (mut guest, file) = Guest::with_file(MIB);
    let stop = AtomicBool::new(false);
    let ring = &mut guest.driver.rings[0];
    let (head, data, status) =
        (ring.ram.place(&header(WRITE_DATA, 0)), ring.ram.place(&[1; 512]), ring.ram.place(&[0xff]));
    ring.set_descriptor(0, Descriptor::new(head, 16, NEXT, 1));
    ring.set_descriptor(1, Descriptor::new(data, 512, NEXT, 2));
    ring.set_descriptor(2, Descriptor::new(status, 1, WRITE, 0));
    let ram = ring.ram.clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ram.write(head, &header(WRITE_DATA, MIB / 512 + 8));
                ram.write(head, &header(WRITE_DATA, 0));
            }
        });
        for _ in 0..5000 {
            ring.offer(0);
            ring.kick();
            ring.wait_used(1);
            assert!([OK, IOERR].contains(&ring.ram.read(status, 1)[0]));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(file.metadata().unwrap().len(), MIB, "written beyond the end");
}
