//! The device of shared folders with a real window, driven by its rings: what is mapped, and requests whose content lies in it.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::dax::Window;
use crate::virtio::device::{Activation, Interrupt, VirtioDevice};
use crate::virtio::fs::{Fs, Limits, Name, NativeFs, Server};
use crate::virtio::mock::{Descriptor, MockDriver, NEXT, WRITE};

const BASE: u64 = 8 << 30;
const BYTES: u64 = 4 << 20;
const ROOT: u64 = 1;

/// A guest's kernel at the request queue.
struct Guest {
    driver: MockDriver,
    // Before the folder: it has files of it open.
    device: Fs<NativeFs>,
    place: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let server = Arc::new(Server::new(NativeFs::default(), Limits { held: 64, open: 32 }));
        server.share(Name::new(b"rw").expect("a name"), place.path(), true).expect("shared");
        let mut device = Fs::new("tag", 1, server).with_window(BYTES);
        assert_eq!((device.window_bytes(), device.shared_memory(0)), (Some(BYTES), None));
        device.take_window(Window::new(BASE, Box::new(Reserved::new(BYTES).expect("addresses"))));
        let region = device.shared_memory(0).expect("the window");
        assert_eq!((region.base, region.len, device.shared_memory(1)), (BASE, BYTES, None));
        let driver = MockDriver::new(device.queue_sizes());
        let windows: Arc<[_]> = Arc::new([region]);
        let activation = Activation {
            memory: Arc::clone(&driver.ram.memory),
            queues: driver.rings.iter().map(|ring| ring.virtqueue().beside(Arc::clone(&windows))).collect(),
            features: 0,
            interrupt: Arc::clone(&driver.interrupts) as Arc<dyn Interrupt>,
        };
        device.activate(activation).expect("active");
        let mut guest = Self { driver, device, place };
        let init = [7u32, 39, 1 << 17, !(1 << 30)].map(u32::to_le_bytes).concat();
        guest.ask(26, 0, &init);
        guest
    }

    /// A request with its content in RAM or elsewhere: the error and the payload of its answer.
    fn send(&mut self, opcode: u32, node: u64, body: &[u8], more: Option<Descriptor>) -> (i32, Vec<u8>) {
        let extra = more.filter(|part| part.flags & WRITE == 0).map_or(0, |part| part.len);
        let len = 40 + body.len() as u32 + extra;
        let numbers = [len, opcode, 1, 0, node as u32, (node >> 32) as u32, 0, 0, 4, 0].map(u32::to_le_bytes).concat();
        let (ring, ram) = (&mut self.driver.rings[1], &self.driver.ram);
        let (asked, room) = (ram.place(&[&numbers[..], body].concat()), ram.alloc(4096));
        let asked = Descriptor::new(asked, 40 + body.len() as u32, NEXT, 1);
        let row = match more {
            None => vec![asked, Descriptor::new(room, 4096, WRITE, 0)],
            Some(read) if extra > 0 => {
                vec![asked, Descriptor { flags: NEXT, next: 2, ..read }, Descriptor::new(room, 4096, WRITE, 0)]
            }
            Some(written) => vec![asked, Descriptor::new(room, 16, WRITE | NEXT, 2), written],
        };
        (0..).zip(row).for_each(|(index, part)| ring.set_descriptor(index, part));
        ring.offer(0);
        ring.kick();
        let used = ring.wait_used(1);
        let answer = ram.read(room, (used[0].len as usize).min(4096));
        assert!(answer.len() >= 16, "no answer");
        (i32::from_le_bytes(answer[4..8].try_into().expect("four bytes")), answer[16..].to_vec())
    }

    fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let (error, payload) = self.send(opcode, node, body, None);
        assert_eq!(error, 0, "request {opcode}");
        payload
    }

    /// The first number of an answer.
    fn number(&mut self, opcode: u32, node: u64, body: &[u8]) -> u64 {
        u64::from_le_bytes(self.ask(opcode, node, body)[..8].try_into().expect("eight bytes"))
    }

    /// The node of an entry of the shared folder, and that open for both.
    fn open(&mut self, entry: &str) -> (u64, u64) {
        let folder = self.number(1, ROOT, b"rw\0");
        let node = self.number(1, folder, format!("{entry}\0").as_bytes());
        (node, self.number(14, node, &[2, 0, 0, 0, 0, 0, 0, 0]))
    }
}

fn transfer(handle: u64, offset: u64, size: u32) -> Vec<u8> {
    [&handle.to_le_bytes()[..], &offset.to_le_bytes(), &size.to_le_bytes(), &[0; 20]].concat()
}

fn set_up(at: u64, flags: u64) -> Vec<u8> {
    [u64::MAX, 0, 2 << 20, flags, at].map(u64::to_le_bytes).concat()
}

#[test]
fn d4_content_goes_between_a_mapped_file_and_another_one() {
    let mut guest = Guest::new();
    fs::write(guest.place.path().join("large"), vec![b'l'; 2 << 20]).expect("written");
    fs::write(guest.place.path().join("other"), "").expect("written");
    let (large, _) = guest.open("large");
    let (other, handle) = guest.open("other");
    guest.ask(48, large, &set_up(0, 3));
    // Written to the other file from the mapped one, as a program does with a buffer that it has mapped.
    let part = Descriptor::new(BASE + 4096, 8192, 0, 0);
    assert_eq!(guest.send(16, other, &transfer(handle, 3, 8192), Some(part)).0, 0);
    assert_eq!(fs::read(guest.place.path().join("other")).expect("read")[3..], vec![b'l'; 8192]);
    // And read into it.
    fs::write(guest.place.path().join("other"), "other").expect("written");
    let part = Descriptor::new(BASE + 10, 5, WRITE, 0);
    assert_eq!(guest.send(15, other, &transfer(handle, 0, 5), Some(part)).0, 0);
    assert_eq!(&fs::read(guest.place.path().join("large")).expect("read")[8..17], b"llotherll");
}

#[test]
fn d4_a_mapped_file_that_went_away_fails_its_request_alone() {
    let mut guest = Guest::new();
    fs::write(guest.place.path().join("large"), vec![b'l'; 2 << 20]).expect("written");
    fs::write(guest.place.path().join("other"), "other").expect("written");
    let (large, _) = guest.open("large");
    let (other, handle) = guest.open("other");
    guest.ask(48, large, &set_up(0, 3));
    fs::File::options().write(true).open(guest.place.path().join("large")).expect("open").set_len(0).expect("cut");
    let write = Descriptor::new(BASE, 100, 0, 0);
    let read = Descriptor::new(BASE, 5, WRITE, 0);
    assert_eq!(guest.send(16, other, &transfer(handle, 0, 100), Some(write)).0, -libc::EFAULT);
    assert_eq!(guest.send(15, other, &transfer(handle, 0, 5), Some(read)).0, -libc::EFAULT);
    // Where nothing is mapped, too.
    let nowhere = Descriptor::new(BASE + (3 << 20), 100, 0, 0);
    assert_eq!(guest.send(16, other, &transfer(handle, 0, 100), Some(nowhere)).0, -libc::EFAULT);
    // A request that is itself in a mapped file is none.
    let name = Descriptor::new(BASE, 5, 0, 0);
    assert_eq!(guest.send(1, ROOT, b"", Some(name)).0, -libc::EFAULT);
    assert_eq!(guest.ask(15, other, &transfer(handle, 0, 5)), b"other");
    assert_eq!(guest.device.server().counts()[2], 2, "all is still open");
}

#[test]
fn d2_removing_and_resetting_leave_nothing_mapped() {
    let mut guest = Guest::new();
    fs::write(guest.place.path().join("large"), vec![b'l'; 2 << 20]).expect("written");
    let (large, _) = guest.open("large");
    guest.ask(48, large, &set_up(0, 1 << 1));
    guest.ask(48, large, &set_up(2 << 20, 3));
    let window = Arc::clone(guest.device.window().expect("a window"));
    assert_eq!(window.mappings(), 2);
    let piece = [&1u32.to_le_bytes()[..], &[0u64, 2 << 20].map(u64::to_le_bytes).concat()].concat();
    guest.ask(49, large, &piece);
    assert_eq!(window.mappings(), 1);
    guest.device.reset();
    assert_eq!(window.mappings(), 0);
}
