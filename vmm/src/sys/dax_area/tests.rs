//! Reserved addresses with real files in them: what is written there is in the file, what is not there is no signal, and nothing
//! of it is this process' own memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::*;
use crate::dax::Window;

const BYTES: u64 = 8 << 20;

fn file(pages: u64) -> Arc<File> {
    let file = tempfile::tempfile().expect("a file");
    file.write_all_at(&vec![b'x'; (pages * PAGE) as usize], 0).expect("written");
    Arc::new(file)
}

fn piece(at: u64, pages: u64) -> Piece {
    Piece::within(BYTES, at * PAGE, pages * PAGE).expect("a piece")
}

fn source(file: &Arc<File>, writable: bool) -> Source {
    Source { file: Arc::clone(file), node: 1, inode: 1, writable, offset: 0 }
}

fn byte(area: &Reserved, page: u64) -> Option<u8> {
    let mut byte = [0xa5];
    area.read(page * PAGE, &mut byte).then_some(byte[0])
}

#[test]
fn d1_what_is_written_is_in_the_file_and_what_is_not_there_is_an_error() {
    let (area, file) = (Reserved::new(BYTES).expect("addresses"), file(2));
    assert!(area.address().is_multiple_of(ALIGNMENT as u64));
    assert_eq!(byte(&area, 3), None, "there is nothing at first");
    area.map(piece(3, 4), &source(&file, true)).expect("mapped");
    assert_eq!([2, 3, 4, 5].map(|page| byte(&area, page)), [None, Some(b'x'), Some(b'x'), None]);
    assert!(area.write(3 * PAGE + 7, b"guest"));
    let mut read = [0; 5];
    file.read_exact_at(&mut read, 7).expect("in the file");
    assert_eq!(&read, b"guest");
    assert!(area.is_reachable(piece(3, 2), true) && !area.is_reachable(piece(3, 3), false));
    area.zero(piece(5, 2), Zeroes::Untouched).expect("zeroed");
    assert_eq!((byte(&area, 5), area.write(5 * PAGE, b"z"), byte(&area, 5)), (Some(0), false, Some(0)));
    area.zero(piece(5, 2), Zeroes::Written).expect("zeroed");
    assert_eq!((byte(&area, 5), area.write(5 * PAGE, b"z"), byte(&area, 5)), (Some(0), true, Some(b'z')));
    area.hide(piece(3, 4)).expect("hidden");
    assert_eq!([3, 5].map(|page| byte(&area, page)), [None, None]);
    assert!(!area.read(BYTES - 1, &mut read) && !area.write(u64::MAX, b"x") && area.slice(BYTES, 1).is_none());
}

#[test]
fn d2_a_read_only_mapping_and_a_copy_leave_the_file_as_it_is() {
    let (area, file) = (Reserved::new(BYTES).expect("addresses"), file(1));
    area.map(piece(0, 1), &source(&file, false)).expect("mapped");
    assert!(!area.write(0, b"y") && byte(&area, 0) == Some(b'x'));
    area.map_copy(piece(1, 1), &source(&file, false)).expect("mapped");
    assert!(area.write(PAGE, b"y") && byte(&area, 1) == Some(b'y'));
    let mut read = [0];
    file.read_exact_at(&mut read, 0).expect("in the file");
    assert_eq!(&read, b"x");
}

#[test]
fn d2_what_cannot_be_mapped_leaves_nothing_and_no_hole() {
    let area = Reserved::new(BYTES).expect("addresses");
    let read_only = Arc::new(File::open("/proc/self/exe").expect("a file that nobody may write to"));
    let folder = Arc::new(File::open("/").expect("a folder"));
    area.map(piece(0, 4), &source(&file(4), true)).expect("mapped");
    for (file, writable) in [(read_only, true), (folder, false)] {
        area.map(piece(1, 2), &source(&file, writable)).expect_err("not to be mapped so");
        assert_eq!([0, 1, 2, 3].map(|page| byte(&area, page)), [Some(b'x'), None, None, Some(b'x')]);
    }
    // All of it is still reserved: what anybody maps now comes to lie elsewhere.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    };
    let (begin, end) = (area.address(), area.address() + BYTES);
    let within = maps.lines().filter_map(range).map(|(from, to)| to.min(end).saturating_sub(from.max(begin)));
    assert_eq!(within.sum::<u64>(), BYTES);
}

#[test]
fn d3_a_window_over_them_follows_the_file_and_is_no_memory_of_ours() {
    let area = Reserved::new(BYTES).expect("addresses");
    let (begin, file) = (area.address(), file(512));
    let window = Window::new(1 << 32, Box::new(area));
    let all = window.piece(0, 512 * PAGE).expect("a piece");
    window.map(all, source(&file, true)).expect("mapped");
    let anonymous = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("/proc is mounted");
        let ours = maps.split_inclusive("VmFlags").find(|map| map.contains(&format!("{begin:x}-"))).expect("mapped");
        let line = ours.lines().find(|line| line.starts_with("Anonymous:")).expect("smaps says so");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    let slice = window.slice(1 << 32, 512 * PAGE as usize).expect("within");
    let sink = tempfile::tempfile().expect("a file");
    // By a system call, as the device does it; it touches every page.
    assert_eq!(crate::sys::write_at(&sink, &[slice], 0).expect("all is there"), 512 * PAGE as usize);
    assert_eq!(anonymous(), 0);
    file.set_len(PAGE).expect("cut");
    let gone = window.slice((1 << 32) + 2 * PAGE, PAGE as usize).expect("within");
    assert!(crate::sys::write_at(&sink, &[gone], 0).is_err(), "an error, no signal");
    assert!(window.mend());
    assert_eq!(crate::sys::write_at(&sink, &[gone], 0).expect("zeroes"), PAGE as usize);
    let mut read = vec![1; PAGE as usize];
    sink.read_exact_at(&mut read, 0).expect("written");
    assert!(read.iter().all(|&byte| byte == 0));
    assert!(window.slice((1 << 32) - 1, 1).is_none() && window.slice((1 << 32) + BYTES, 1).is_none());
}
