//! Files that the guest has mapped, on a real `/dev/kvm`: it sees and changes the host's own pages, and lives on when they go.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{DEVICE, DEVICE_TO_RDI, SPIN, TRIPLE_FAULT, rig};
use crate::bus::{Bus, BusDevice};
use crate::dax::{Interpreted, PAGE, Source, Window};
use crate::hv::{Exit, Vcpu, Vm};

/// Within the GiB that the boot page tables map, so that a stub reaches it without tables of its own.
const BASE: u64 = 0x2000_0000;
const BYTES: u64 = 16 << 20;
/// `mov [rdi], al`
const TELL: [u8; 2] = [0x88, 0x07];

/// `mov al, [BASE + at]; mov [rdi], al`
fn read(at: u32) -> Vec<u8> {
    [&[0x8a, 0x04, 0x25][..], &(BASE as u32 + at).to_le_bytes(), &TELL].concat()
}

/// `mov byte [BASE + at], value`
fn write(at: u32, value: u8) -> Vec<u8> {
    [&[0xc6, 0x04, 0x25][..], &(BASE as u32 + at).to_le_bytes(), &[value]].concat()
}

/// Does something on the host each time that the guest tells a byte, and remembers the bytes.
struct Told<F> {
    bytes: Mutex<Vec<u8>>,
    act: F,
}

impl<F: Fn(usize) + Send + Sync> BusDevice for Told<F> {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _: u64, data: &[u8]) {
        let mut bytes = self.bytes.lock().expect("no test panics inside");
        bytes.extend(data);
        (self.act)(bytes.len());
    }
}

/// A file of `a` in its first page and `b` in its second.
fn two_pages() -> Arc<File> {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(&[b'a'; PAGE as usize], 0).expect("written");
    file.write_all_at(&[b'b'; PAGE as usize], PAGE).expect("written");
    Arc::new(file)
}

fn show(window: &Window, file: &Arc<File>, writable: bool) {
    let piece = window.piece(0, 2 << 20).expect("a piece");
    window.map(piece, Source { file: Arc::clone(file), node: 1, inode: 1, writable, offset: 0 }).expect("mapped");
}

/// Runs `code` in a machine with a window, filled by `prepare`; says how it ended, what it told, and how often memory was not
/// there, in either of the ways in which a KVM says so.
fn run(
    code: &[&[u8]],
    prepare: impl FnOnce(&Window),
    act: impl Fn(usize, &Arc<Window>) + Send + Sync + 'static,
) -> Option<(Exit, Vec<u8>, u64)> {
    let code = [&[&DEVICE_TO_RDI[..]], code].concat();
    let rig = rig(1, &code)?;
    let window = rig.vm.window(BASE, BYTES).expect("KVM maps files");
    prepare(&window);
    let for_act = Arc::clone(&window);
    let told = Arc::new(Told { bytes: Mutex::default(), act: move |count| act(count, &for_act) });
    let mut bus = Bus::default();
    assert!(bus.add_mmio(DEVICE, 8, Arc::clone(&told) as _));
    assert!(bus.add_mmio(BASE, BYTES, Arc::new(Interpreted(window))));
    let mut vcpu = rig.vm.create_vcpu(0, &rig.boot).expect("the first vCPU");
    let exit = vcpu.run(&bus);
    let bytes = told.bytes.lock().expect("no test panics inside").clone();
    let exits = rig.vm.exits();
    Some((exit, bytes, exits["fault"] + exits["mmio_read"]))
}

#[test]
fn d1_the_guest_sees_the_hosts_pages_and_lives_on_when_they_go() {
    let file = two_pages();
    let (for_guest, for_host) = (Arc::clone(&file), Arc::clone(&file));
    let code = [read(0), read(0x1000), read(0x1000), write(0x1000, 7), read(0), write(8, 9), read(0x1000)];
    let code: Vec<&[u8]> = code.iter().map(Vec::as_slice).chain([&TRIPLE_FAULT[..]]).collect();
    let act = move |count, window: &Arc<Window>| match count {
        1 => for_host.write_all_at(b"B", PAGE).expect("an edit of the host"),
        2 => for_host.set_len(100).expect("cut"),
        4 => {
            // What the guest wrote to where there is no file is gone, and a longer file is seen again.
            for_host.write_all_at(b"c", PAGE).expect("grown");
            window.mend();
        }
        _ => {}
    };
    let Some((exit, told, gone)) = run(&code, |window| show(window, &for_guest, true), act) else { return };
    assert!(gone > 0, "the guest met what is gone");
    assert_eq!((exit, told.as_slice()), (Exit::Reset, &b"aB\0ac"[..]));
    let mut byte = [0];
    file.read_exact_at(&mut byte, 8).expect("in the file");
    assert_eq!(byte, [9], "what the guest writes is in the file");
}

#[test]
fn d1_a_file_that_is_empty_or_was_cut_before_is_zeroes() {
    let file = two_pages();
    let for_guest = Arc::clone(&file);
    let code = [read(0), write(0, 3), read(0), read(0x1f_ffff)];
    let code: Vec<&[u8]> = code.iter().map(Vec::as_slice).chain([&TRIPLE_FAULT[..]]).collect();
    let prepare = move |window: &Window| {
        show(window, &for_guest, true);
        for_guest.set_len(0).expect("emptied");
    };
    let Some((exit, told, _)) = run(&code, prepare, |_, _| {}) else { return };
    assert_eq!((exit, told.len(), told[0], told[2]), (Exit::Reset, 3, 0, 0));
    assert_eq!(file.metadata().expect("a file").len(), 0);
}

#[test]
fn d1_a_host_that_cuts_and_writes_all_the_time_stops_no_guest() {
    let file = two_pages();
    let (for_guest, for_host, over) = (Arc::clone(&file), Arc::clone(&file), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&over);
    let host = std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            for_host.set_len(0).expect("cut");
            for_host.set_len(2 * PAGE).expect("grown");
        }
    });
    // mov ecx, 3000; 1: mov al, [BASE + 0x1000]; mov [BASE + 0x1001], al; dec ecx; jnz 1b
    let [load, store] = [[0x8a, 0x04, 0x25, 0, 0x10, 0, 0x20], [0x88, 0x04, 0x25, 1, 0x10, 0, 0x20]];
    let body = [&[0xb9, 0xb8, 0x0b, 0, 0][..], &load, &store, &[0xff, 0xc9, 0x75, 0xee]].concat();
    let ended = run(&[&body, &TELL, &TRIPLE_FAULT], |window| show(window, &for_guest, true), |_, _| {});
    over.store(true, Ordering::SeqCst);
    host.join().expect("no panic");
    let Some((exit, told, _)) = ended else { return };
    assert_eq!((exit, told.len()), (Exit::Reset, 1));
}

#[test]
fn d2_a_read_only_mapping_takes_no_writes() {
    let file = two_pages();
    let for_guest = Arc::clone(&file);
    let code = [read(0), write(0, 3), read(0)];
    let code: Vec<&[u8]> = code.iter().map(Vec::as_slice).chain([&TRIPLE_FAULT[..]]).collect();
    let Some((_, told, _)) = run(&code, |window| show(window, &for_guest, false), |_, _| {}) else { return };
    // Whether the guest goes on is its own affair: its kernel has been told that it may not.
    assert_eq!(told[0], b'a');
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).expect("in the file");
    assert_eq!(byte, [b'a']);
}

#[test]
fn d2_where_nothing_is_mapped_the_guest_finds_nothing_of_this_process() {
    let Some((exit, told, _)) = run(&[&read(0x40_0000), &SPIN[..0], &TRIPLE_FAULT], |_| {}, |_, _| {}) else { return };
    match exit {
        Exit::Failed(reason) => assert!(reason.contains("not there") && told.is_empty(), "{reason}"),
        // A KVM that interprets takes it for a device.
        other => assert_eq!((other, told), (Exit::Reset, vec![0])),
    }
}
