//! The block device against a mock driver: catalogue entries B1–B6, and the queue entries that only a slow device shows.
//! Here is what the tests share: a guest with a disk, and a disk that does as it is told.

mod failures;
mod life;
mod ranges;
mod transfer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use vm_memory::VolatileSlice;

use super::*;
use crate::virtio::mock::{MockDriver, Request};

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
        (Self::with(Block::new(config, Trouble::default()).unwrap()), same)
    }

    fn with_disk(disk: impl Disk + 'static) -> Self {
        Self::with_trouble(disk, Trouble::default())
    }

    fn with_trouble(disk: impl Disk + 'static, trouble: Trouble) -> Self {
        Self::with(Block::with_disk(Box::new(disk), "data.img".into(), false, String::new(), trouble).unwrap())
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

type Meanwhile = Box<dyn FnMut(&str) + Send>;

/// A disk that logs what it is asked and fails as told.
#[derive(Default)]
struct Scripted {
    log: Arc<Mutex<Vec<String>>>,
    /// Errors for the next calls of anything that changes or flushes the disk; then all goes well.
    errors: Vec<Option<io::ErrorKind>>,
    /// Writing finds no room while this is set.
    full: Arc<AtomicBool>,
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
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
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
