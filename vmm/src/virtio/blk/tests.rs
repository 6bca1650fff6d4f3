//! The block device against a mock driver: catalogue entries B1–B6, and the queue entries that only a slow device shows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::mpsc::{self, Receiver, Sender};

use proptest::prelude::*;
use vm_memory::VolatileSlice;

use super::*;
use crate::sys;
use crate::virtio::mock::{Descriptor, MockDriver, NEXT, Ram, Request, WRITE};

const READ: u32 = 0;
const WRITE_DATA: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
const MIB: u64 = 1 << 20;

struct Guest {
    block: Block,
    driver: MockDriver,
}

impl Guest {
    /// A device over a fresh sparse file of so many bytes, and another handle to the file.
    fn with_file(bytes: u64) -> (Self, File) {
        Self::with_file_as(bytes, false)
    }

    fn with_file_as(bytes: u64, read_only: bool) -> (Self, File) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        let same = file.try_clone().unwrap();
        let config = DiskConfig { file, path: "data.img".into(), read_only, serial: "lighter-data".to_owned() };
        (Self::with(Block::new(config).unwrap()), same)
    }

    fn with_disk(disk: impl Disk + 'static) -> Self {
        Self::with(Block::with_disk(Box::new(disk), "data.img".into(), false, String::new()).unwrap())
    }

    fn with(mut block: Block) -> Self {
        let driver = MockDriver::for_device(&mut block);
        Self { block, driver }
    }

    fn offer(&mut self, kind: u32, sector: u64, data: &[&[u8]], room: &[u32]) -> Request {
        let head = header(kind, sector);
        let readable: Vec<&[u8]> = [&head[..]].into_iter().chain(data.iter().copied()).collect();
        let writable: Vec<u32> = room.iter().copied().chain([1]).collect();
        self.driver.rings[0].add(&readable, &writable)
    }

    /// One request, from offer to answer: status and the bytes before it.
    fn ask(&mut self, kind: u32, sector: u64, data: &[&[u8]], room: &[u32]) -> (u8, Vec<u8>) {
        let request = self.offer(kind, sector, data, room);
        self.answer(&request)
    }

    fn answer(&mut self, request: &Request) -> (u8, Vec<u8>) {
        let ring = &mut self.driver.rings[0];
        ring.kick();
        let used = ring.wait_used(1)[0];
        assert_eq!(used.head, request.head);
        let mut bytes = request.writable_bytes();
        let status = bytes.pop().unwrap();
        assert_eq!(used.len as usize, if status == OK { bytes.len() + 1 } else { 1 });
        (status, bytes)
    }

    fn status(&mut self, kind: u32, sector: u64, data: &[&[u8]]) -> u8 {
        self.ask(kind, sector, data, &[]).0
    }

    fn breaks(self) {
        self.driver.rings[0].kick();
        self.driver.interrupts.wait_until("NEEDS_RESET", |seen| seen.needs_reset == 1);
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn segment(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes that differ from sector to sector.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 512 * 7 + at + 1) as u8).collect()
}

#[test]
fn data_goes_to_the_file_and_back_in_parts_of_any_size() {
    let (mut guest, mut file) = Guest::with_file(MIB);
    let data = pattern(8192);
    let (a, rest) = data.split_at(1);
    let (b, c) = rest.split_at(4000);
    assert_eq!(guest.status(WRITE_DATA, 3, &[a, b, c]), OK);
    assert_eq!(contents(&mut file)[3 * 512..][..8192], data);
    assert_eq!(guest.ask(READ, 3, &[], &[8192]), (OK, data.clone()));
    assert_eq!(guest.ask(READ, 3, &[], &[511, 1, 7680]), (OK, data.clone()));
    // The status may share a descriptor with the data, and the header with what is written.
    let ring = &mut guest.driver.rings[0];
    let request = ring.add_indirect(&[&header(READ, 3)], &[8192 + 1]);
    assert_eq!(guest.answer(&request), (OK, data.clone()));
    let together = [header(WRITE_DATA, 100), data.clone()].concat();
    let request = guest.driver.rings[0].add(&[&together], &[1]);
    assert_eq!(guest.answer(&request).0, OK);
    assert_eq!(contents(&mut file)[100 * 512..][..8192], data);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
}

#[test]
fn the_largest_request_the_limits_allow_is_served_in_one_piece() {
    let (mut guest, _) = Guest::with_file(8 * MIB);
    let (data, part) = (pattern(126 * 4096), 4096);
    let parts: Vec<&[u8]> = data.chunks(part).collect();
    assert_eq!(guest.status(WRITE_DATA, 0, &parts), OK);
    assert_eq!(guest.ask(READ, 0, &[], &[4096; 126]), (OK, data));
}

#[test]
fn many_requests_in_flight_are_all_answered() {
    let (mut guest, _) = Guest::with_file(MIB);
    for round in 0..50u8 {
        let requests: Vec<_> = (0..32).map(|sector| guest.offer(WRITE_DATA, sector, &[&[round; 512]], &[])).collect();
        guest.driver.rings[0].kick();
        assert_eq!(guest.driver.rings[0].wait_used(32).len(), requests.len());
        assert!(requests.iter().all(|request| request.writable_bytes() == [OK]));
    }
    assert_eq!(guest.ask(READ, 0, &[], &[32 * 512]), (OK, vec![49; 32 * 512]));
}

#[test]
fn configuration_space_tells_size_limits_and_blocks() {
    let (guest, _) = Guest::with_file(10 * MIB + 511);
    let mut space = [0xee; 64];
    guest.block.read_config(0, &mut space);
    let word = |at: usize| u32::from_le_bytes(space[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(4)), (20480, 0), "sectors");
    assert_eq!((word(8), word(12), word(20)), (1 << 20, 126, 512), "size_max, seg_max, blk_size");
    assert_eq!((space[24], space[26], space[34]), (3, 8, 1), "exponent, min_io_size, num_queues");
    assert_eq!((word(40), word(44), word(52)), (16, 8, 1), "discard segments and alignment, zero segments");
    assert_eq!(space[60..], [0xee; 4], "nothing beyond the end");
    let mut byte = [7];
    for offset in [60, 61, u64::MAX] {
        guest.block.read_config(offset, &mut byte);
        assert_eq!(byte, [7]);
    }
    guest.block.read_config(1, &mut byte);
    assert_eq!(byte, [(20480u32 >> 8) as u8]);
}

#[test]
fn an_empty_image_or_a_long_serial_is_refused() {
    let config = |bytes, serial: &str| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        Block::new(DiskConfig { file, path: "data.img".into(), read_only: false, serial: serial.to_owned() })
    };
    assert!(matches!(config(511, "x"), Err(BlockError::Empty(_))));
    assert!(matches!(config(512, "123456789012345678901"), Err(BlockError::Serial(_))));
    assert!(matches!(config(512, "größe"), Err(BlockError::Serial(_))));
    assert!(config(512, "12345678901234567890").is_ok());
}

#[test]
fn the_serial_is_answered_padded_into_twenty_bytes() {
    let (mut guest, _) = Guest::with_file(MIB);
    let mut expected = b"lighter-data".to_vec();
    expected.resize(20, 0);
    assert_eq!(guest.ask(GET_ID, 0, &[], &[20]), (OK, expected.clone()));
    assert_eq!(guest.ask(GET_ID, u64::MAX, &[], &[7, 13]), (OK, expected));
    for room in [0, 19, 21] {
        let room = if room == 0 { vec![] } else { vec![room] };
        assert_eq!(guest.ask(GET_ID, 0, &[], &room).0, IOERR, "room {room:?}");
    }
}

#[test]
fn b1_sectors_beyond_the_end_are_refused_and_nothing_is_touched() {
    let (mut guest, mut file) = Guest::with_file(MIB + 100);
    let last = MIB / 512 - 1;
    assert_eq!(guest.status(WRITE_DATA, last, &[&[1; 512]]), OK);
    for sector in [last + 1, last + 2, u64::MAX, u64::MAX / 512, u64::MAX / 512 + 1, 1 << 55, 1 << 63] {
        assert_eq!(guest.status(WRITE_DATA, sector, &[&[2; 512]]), IOERR, "sector {sector}");
        assert_eq!(guest.ask(READ, sector, &[], &[512]), (IOERR, vec![0; 512]), "sector {sector}");
    }
    assert_eq!(guest.status(WRITE_DATA, last, &[&[2; 1024]]), IOERR, "runs over the end");
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[2; 511]]), IOERR, "no whole sector");
    assert_eq!(guest.ask(READ, 0, &[], &[513]).0, IOERR, "no whole sector");
    let bytes = contents(&mut file);
    assert_eq!(bytes.len() as u64, MIB + 100);
    assert!(bytes[..last as usize * 512].iter().all(|&byte| byte == 0) && bytes[last as usize * 512] == 1);
}

#[test]
fn b1_more_data_than_the_limits_allow_is_refused() {
    let (mut guest, _) = Guest::with_file(MIB);
    let ring = &mut guest.driver.rings[0];
    let (head, status) = (ring.ram.place(&header(READ, 0)), ring.ram.place(&[0xff]));
    ring.set_descriptor(0, Descriptor::new(head, 16, NEXT, 1));
    for index in 1..12 {
        ring.set_descriptor(index, Descriptor::new(0x10_0000, 15 << 20, WRITE | NEXT, index + 1));
    }
    ring.set_descriptor(12, Descriptor::new(status, 1, WRITE, 0));
    ring.offer(0);
    ring.kick();
    ring.wait_used(1);
    assert_eq!(ring.ram.read(status, 1), [IOERR]);
}

#[test]
fn b2_unknown_requests_are_unsupported() {
    let (mut guest, _) = Guest::with_file(MIB);
    for kind in [2, 3, 5, 7, 9, 10, 12, 14, 15, 0x100, 0x8000_0000, u32::MAX] {
        assert_eq!(guest.ask(kind, 0, &[&[0; 16]], &[512]), (UNSUPP, vec![0; 512]), "type {kind}");
    }
}

#[test]
fn b2_a_header_in_sixteen_pieces_is_put_together() {
    let (mut guest, mut file) = Guest::with_file(MIB);
    let head = header(WRITE_DATA, 2);
    let mut parts: Vec<&[u8]> = head.chunks(1).collect();
    let data = [9; 512];
    parts.push(&data);
    let request = guest.driver.rings[0].add(&parts, &[1]);
    assert_eq!(guest.answer(&request).0, OK);
    assert_eq!(contents(&mut file)[1024..1536], data);
}

#[test]
fn b2_requests_that_cannot_be_answered_stop_the_device() {
    let broken: [fn(&mut Guest); 5] = [
        |guest| drop(guest.driver.rings[0].add(&[&header(READ, 0)[..15]], &[512, 1])),
        |guest| drop(guest.driver.rings[0].add(&[], &[512, 1])),
        |guest| drop(guest.driver.rings[0].add(&[&header(FLUSH, 0)], &[])),
        |guest| drop(guest.driver.rings[0].add(&[&header(WRITE_DATA, 0), &[1; 512]], &[])),
        |guest| drop(guest.driver.rings[0].add(&[&header(READ, 0)], &[512, 0])),
    ];
    for offer in broken {
        let (mut guest, _) = Guest::with_file(MIB);
        offer(&mut guest);
        guest.breaks();
    }
}

#[test]
fn b2_a_stopped_device_serves_again_after_reset() {
    let (mut guest, _) = Guest::with_file(MIB);
    guest.driver.rings[0].add(&[b"short"], &[1]);
    guest.driver.rings[0].kick();
    guest.driver.interrupts.wait_until("NEEDS_RESET", |seen| seen.needs_reset == 1);
    guest.block.reset();
    let mut guest = Guest::with(guest.block);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
}

#[test]
fn b3_discard_and_write_zeroes_segments_are_checked() {
    let (mut guest, mut file) = Guest::with_file(4 * MIB);
    let full = pattern(4 << 20);
    file.write_all(&full).unwrap();
    let (sectors, max_discard, max_zero) = (4 * MIB / 512, 1 << 22, 1 << 17);
    for kind in [DISCARD, WRITE_ZEROES] {
        let mut status = |parts: &[&[u8]]| guest.status(kind, 0, parts);
        let max = if kind == DISCARD { max_discard } else { max_zero };
        let many = segment(0, 1, 0).repeat(if kind == DISCARD { 17 } else { 2 });
        assert_eq!(status(&[]), IOERR, "no segment");
        assert_eq!(status(&[&segment(0, 8, 0)[..15]]), IOERR, "short segment");
        assert_eq!(status(&[&[&segment(0, 8, 0)[..], &[0]].concat()]), IOERR, "one and a bit");
        assert_eq!(status(&[&many]), IOERR, "too many");
        for (sector, count) in [(sectors, 1), (0, sectors as u32 + 1), (sectors - 1, 2), (0, max + 1), (0, u32::MAX)] {
            assert_eq!(status(&[&segment(sector, count, 0)]), IOERR, "{sector} + {count}");
        }
        for sector in [u64::MAX, u64::MAX / 512, 1 << 55] {
            assert_eq!(status(&[&segment(sector, 1, 0)]), IOERR, "sector {sector}");
        }
        for flags in [2, 0x8000_0000, u32::MAX] {
            assert_eq!(status(&[&segment(0, 8, flags)]), UNSUPP, "flags {flags:x}");
        }
        assert_eq!(status(&[&segment(0, 0, 0)]), OK, "nothing at all");
    }
    assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 1)]), UNSUPP, "unmap means nothing to a discard");
    // One bad segment spoils the request before anything is done.
    let mixed = [segment(0, 64, 0), segment(sectors, 1, 0)].concat();
    assert_eq!(guest.status(DISCARD, 0, &[&mixed]), IOERR);
    assert!(contents(&mut file) == full);
}

#[test]
fn b3_features_that_were_not_negotiated_are_unsupported() {
    let (mut guest, _) = Guest::with_file(MIB);
    guest.block.reset();
    guest.driver.rings[0].clear();
    guest.driver.activate(&mut guest.block, F_FLUSH);
    assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), UNSUPP);
    assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), UNSUPP);
}

#[test]
fn b3_write_zeroes_zeroes_exactly_its_range() {
    for unmap in [0, 1] {
        let (mut guest, mut file) = Guest::with_file(4 * MIB);
        let mut expected = pattern(4 << 20);
        file.write_all(&expected).unwrap();
        for (sector, sectors) in [(1, 1), (7, 10), (100, 3000), (8191, 1)] {
            assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(sector, sectors, unmap)]), OK);
            expected[sector as usize * 512..][..sectors as usize * 512].fill(0);
        }
        assert!(contents(&mut file) == expected, "unmap {unmap}");
    }
}

#[test]
fn b3_discarded_blocks_leave_the_host_and_only_whole_blocks() {
    let (mut guest, mut file) = Guest::with_file(8 * MIB);
    let mut expected = pattern(8 << 20);
    file.write_all(&expected).unwrap();
    file.sync_all().unwrap();
    let Some(before) = sys::allocated(&file) else { return };
    assert!(before >= 8 * MIB, "{before}");
    // 1 MiB..5 MiB and, from sector 1 on, 24 sectors: of these only blocks 1 and 2 are whole.
    let segments = [segment(2048, 8192, 0), segment(1, 24, 0)].concat();
    assert_eq!(guest.status(DISCARD, 0, &[&segments]), OK);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
    let freed = before - sys::allocated(&file).unwrap();
    assert!((4 * MIB..=4 * MIB + 16384).contains(&freed), "{freed} bytes were freed");
    expected[1 << 20..5 << 20].fill(0);
    expected[4096..3 * 4096].fill(0);
    assert!(contents(&mut file) == expected);
    // And the rest, by zeroing with leave to unmap.
    assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 16384, 1)]), OK);
    assert!(sys::allocated(&file).unwrap() <= 64 << 10);
    assert_eq!(file.metadata().unwrap().len(), 8 * MIB);
}

#[test]
fn b4_a_read_only_disk_is_never_written_whatever_was_negotiated() {
    for features in [0, u64::MAX] {
        let (mut guest, mut file) = Guest::with_file_as(MIB, true);
        file.write_all(&[5; 1024]).unwrap();
        assert_eq!(guest.block.features() & (1 << 5 | F_DISCARD | F_WRITE_ZEROES), 1 << 5);
        guest.block.reset();
        guest.driver.rings[0].clear();
        guest.driver.activate(&mut guest.block, features);
        assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
        assert_ne!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), OK);
        assert_ne!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), OK);
        assert_eq!(guest.status(FLUSH, 0, &[]), OK);
        assert_eq!(guest.ask(READ, 0, &[], &[512]), (OK, vec![5; 512]));
        assert_eq!(contents(&mut file)[..1024], [5; 1024]);
    }
}

#[test]
fn b4_a_flush_of_a_read_only_disk_asks_nothing_of_the_host() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let disk = Scripted { log: Arc::clone(&log), ..Scripted::default() };
    let mut guest = Guest::with(Block::with_disk(Box::new(disk), "root.img".into(), true, String::new()).unwrap());
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
    assert!(log.lock().unwrap().is_empty());
}

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

type Meanwhile = Box<dyn FnMut(&str) + Send>;

/// A disk that logs what it is asked and fails as told.
#[derive(Default)]
struct Scripted {
    log: Arc<Mutex<Vec<String>>>,
    /// Errors for the next calls of anything that changes or flushes the disk; then all goes well.
    errors: Vec<Option<io::ErrorKind>>,
    /// Called in the middle of each read and flush.
    meanwhile: Option<Meanwhile>,
}

impl Scripted {
    fn note(&mut self, what: String) -> io::Result<()> {
        self.log.lock().unwrap().push(what);
        let error = if self.errors.is_empty() { None } else { self.errors.remove(0) };
        error.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl Disk for Scripted {
    fn size(&self) -> u64 {
        MIB
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn read(&mut self, _: u64, parts: &[VolatileSlice]) -> io::Result<()> {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile("read");
        }
        parts.iter().for_each(|part| part.copy_from(&vec![0xaau8; part.len()]));
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile("done");
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, _: &[VolatileSlice]) -> io::Result<()> {
        self.note(format!("write {offset}"))
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile("flush");
        }
        self.note("flush".to_owned())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.note(format!("discard {offset} {len}"))
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.note(format!("zero {offset} {len} {unmap}"))
    }
}

#[test]
fn b5_errors_of_the_host_reach_the_guest_and_do_not_stick() {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::QuotaExceeded];
    let mut guest = Guest::with_disk(Scripted { errors: kinds.map(Some).to_vec(), ..Scripted::default() });
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
    assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 0)]), IOERR);
    assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment(0, 8, 0)]), IOERR);
    // There is room again.
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), OK);
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_requests_leave_what_a_plain_array_would_hold(
        requests in proptest::collection::vec((0u8..4, 0u64..70, 0usize..12, any::<u8>()), 1..40),
    ) {
        let (mut guest, mut file) = Guest::with_file(64 * 512);
        let mut model = vec![0; 64 * 512];
        for (kind, sector, sectors, byte) in requests {
            let fits = sector + sectors as u64 <= 64;
            let expected = if fits { OK } else { IOERR };
            let range = if fits { sector as usize * 512..(sector as usize + sectors) * 512 } else { 0..0 };
            let data = vec![byte; sectors * 512];
            match kind {
                0 => {
                    let room: Vec<u32> = if sectors == 0 { vec![] } else { vec![sectors as u32 * 512 - 3, 3] };
                    let (status, bytes) = guest.ask(READ, sector, &[], &room);
                    prop_assert_eq!(status, expected);
                    prop_assert!(!fits || bytes == model[range]);
                }
                1 => {
                    let parts: Vec<&[u8]> = if sectors == 0 { vec![] } else { vec![&data[..5], &data[5..]] };
                    prop_assert_eq!(guest.status(WRITE_DATA, sector, &parts), expected);
                    model[range].fill(byte);
                }
                _ => {
                    let segment = segment(sector, sectors as u32, u32::from(kind == 2));
                    prop_assert_eq!(guest.status(WRITE_ZEROES, 0, &[&segment]), expected);
                    model[range].fill(0);
                }
            }
        }
        prop_assert!(contents(&mut file) == model);
    }
}
