//! The host fails, or has no room: what the guest is told, and what FLUSH means then (B5, B6).

use std::sync::mpsc;

use tokio::sync::watch;

use super::*;
use crate::virtio::mock::{DEADLINE, Ram};

#[test]
fn b5_an_image_cut_short_while_in_use_gives_errors_and_fails_the_flush() {
    let (mut guest, file) = Guest::with_file(MIB);
    file.set_len(MIB / 2).unwrap();
    assert_eq!(guest.ask(READ, 0, &[], &[512]).0, OK);
    assert_eq!(guest.ask(READ, MIB / 512 - 1, &[], &[512]).0, IOERR);
    assert_eq!(guest.ask(READ, MIB / 1024 - 1, &[], &[1024]).0, IOERR, "half of it is there");
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    assert_eq!(guest.status(FLUSH, 0, &[]), IOERR);
    file.set_len(MIB).unwrap();
    assert_eq!(guest.status(FLUSH, 0, &[]), IOERR, "what was lost does not come back");
}

#[test]
fn b5_errors_of_the_host_reach_the_guest_and_do_not_stick() {
    let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull, io::ErrorKind::Other];
    let mut guest = Guest::with_disk(Scripted { errors: kinds.map(Some).to_vec(), ..Scripted::default() });
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
    assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), IOERR, "only advice, so nothing waits for room");
    assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), IOERR);
    // All is well again.
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
}

#[test]
fn b5_x5_a_write_without_room_on_the_host_is_done_when_there_is_some() {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let log = Arc::<Mutex<Vec<String>>>::default();
    let errors = [kinds[0], kinds[1], kinds[0]].map(Some).to_vec();
    let mut guest = Guest::with_disk(Scripted { errors, log: Arc::clone(&log), ..Scripted::default() });
    let write = guest.offer(WRITE_DATA, 0, &[&[1; 512]], &[]);
    let flush = guest.offer(FLUSH, 0, &[], &[]);
    guest.driver.rings[0].kick();
    guest.driver.rings[0].wait_used(2);
    assert_eq!([write, flush].map(|request| request.writable_bytes()), [[OK], [OK]]);
    assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), OK);
    let log = log.lock().unwrap();
    assert_eq!(*log, ["write 0", "write 0", "write 0", "write 0", "flush", "zero 0 4096 false"], "in order");
}

/// A guest whose first write has been found to have no room.
fn without_room() -> (Guest, Request, Arc<AtomicBool>, watch::Receiver<Option<String>>) {
    let (full, trouble) = (Arc::new(AtomicBool::new(true)), Trouble::default());
    let mut told = trouble.watch();
    let mut guest = Guest::with_trouble(Scripted { full: Arc::clone(&full), ..Scripted::default() }, trouble);
    let request = guest.offer(WRITE_DATA, 0, &[&[1; 512]], &[]);
    guest.driver.rings[0].kick();
    let text = next(&mut told).unwrap();
    assert!(text.contains("no space left") && text.contains("data.img") && text.contains("Free"), "{text}");
    (guest, request, full, told)
}

fn next(told: &mut watch::Receiver<Option<String>>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let changed = runtime.block_on(async { tokio::time::timeout(DEADLINE, told.changed()).await });
    changed.unwrap().unwrap();
    told.borrow_and_update().clone()
}

#[test]
fn x5_a_person_is_told_that_writes_wait_for_room_and_that_they_wait_no_more() {
    let (mut guest, request, full, mut told) = without_room();
    // Doorbells do not make it give up, nor miss what they tell of.
    let second = guest.offer(READ, 0, &[], &[512]);
    (0..1000).for_each(|_| guest.driver.rings[0].kick());
    full.store(false, Ordering::SeqCst);
    assert_eq!(next(&mut told), None);
    guest.driver.rings[0].wait_used(2);
    assert_eq!((request.writable_bytes(), second.writable_bytes()[512]), (vec![OK], OK));
}

#[test]
fn x5_a_reset_does_not_wait_for_room_on_the_host() {
    let (mut guest, request, _full, _told) = without_room();
    guest.block.reset();
    assert_eq!(request.writable_bytes(), [0], "a request that was not done is not answered");
}

#[test]
fn b5_a_person_is_told_that_a_flush_failed() {
    let trouble = Trouble::default();
    let told = trouble.watch();
    let disk = Scripted { errors: vec![Some(io::ErrorKind::StorageFull)], ..Scripted::default() };
    let mut guest = Guest::with_trouble(disk, trouble);
    assert_eq!(guest.status(FLUSH, 0, &[]), IOERR);
    let text = told.borrow().clone().unwrap();
    assert!(text.contains("Flushing") && text.contains("lighter restart"), "{text}");
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
    assert!(told.borrow().is_some(), "it stays so");
}

#[test]
fn b5_a_failed_flush_is_never_retried_into_success_not_even_after_a_reset() {
    let errors = vec![None, Some(io::ErrorKind::Other)];
    let log = Arc::<Mutex<Vec<String>>>::default();
    let mut guest = Guest::with_disk(Scripted { errors, log: Arc::clone(&log), ..Scripted::default() });
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    assert_eq!(guest.status(FLUSH, 0, &[]), IOERR);
    for _ in 0..2 {
        assert_eq!(guest.status(FLUSH, 0, &[]), IOERR);
        assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
        assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), IOERR);
        assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), IOERR);
        assert_eq!(guest.ask(READ, 0, &[], &[512]), (OK, vec![0xaa; 512]));
        guest.block.reset();
        guest = Guest::with(guest.block);
    }
    assert_eq!(*log.lock().unwrap(), ["write 0", "flush"], "the disk was asked again");
}

#[test]
fn b6_a_flush_is_answered_after_the_writes_before_it_are_durable() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let (answered_at_flush, seen) = mpsc::channel();
    let late_ram = Arc::<Mutex<Option<(Ram, u64)>>>::default();
    let ram_for_disk = Arc::clone(&late_ram);
    let meanwhile = move |what: &str| {
        if what == "flush" {
            let guard = ram_for_disk.lock().unwrap();
            let (ram, used) = guard.as_ref().expect("set before the kick");
            answered_at_flush.send(u16::from_le_bytes(ram.read(used + 2, 2).try_into().unwrap())).unwrap();
        }
    };
    let disk = Scripted { log: Arc::clone(&log), meanwhile: Some(Box::new(meanwhile)), ..Scripted::default() };
    let mut guest = Guest::with_disk(disk);
    let ring = &guest.driver.rings[0];
    *late_ram.lock().unwrap() = Some((ring.ram.clone(), ring.layout.used));
    for sector in 0..5 {
        guest.offer(WRITE_DATA, sector, &[&[1; 512]], &[]);
    }
    guest.offer(FLUSH, 0, &[], &[]);
    guest.offer(WRITE_DATA, 9, &[&[1; 512]], &[]);
    guest.driver.rings[0].kick();
    guest.driver.rings[0].wait_used(7);
    assert_eq!(
        *log.lock().unwrap(),
        ["write 0", "write 512", "write 1024", "write 1536", "write 2048", "flush", "write 4608"]
    );
    assert_eq!(seen.recv().unwrap(), 5, "answered when the disk began to flush");
}

#[test]
fn b6_a_driver_that_cannot_flush_gets_every_write_made_durable() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let mut guest = Guest::with_disk(Scripted { log: Arc::clone(&log), ..Scripted::default() });
    guest.block.reset();
    guest.driver.rings[0].clear();
    guest.driver.activate(&mut guest.block, F_DISCARD);
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), OK);
    assert_eq!(guest.ask(READ, 0, &[], &[512]).0, OK);
    assert_eq!(*log.lock().unwrap(), ["write 0", "flush", "discard 0 4096", "flush"]);
}
