//! Discarding, zeroing, and disks that are for reading only (B3, B4).

use std::io::Write;

use super::*;
use crate::sys;

#[test]
fn b3_discard_and_write_zeroes_segments_are_checked() {
    let (mut guest, mut file) = Guest::with_file(4 * MIB);
    let full = pattern(4 << 20);
    file.write_all(&full).unwrap();
    let (sectors, max_discard, max_zero) = (4 * MIB / 512, 1 << 22, 1 << 17);
    // Discarding is offered only where the host can give blocks back.
    let kinds: &[u32] = if sys::HOLES.is_some() { &[DISCARD, WRITE_ZEROES] } else { &[WRITE_ZEROES] };
    for &kind in kinds {
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
    if sys::HOLES.is_some() {
        assert_eq!(guest.status(DISCARD, 0, &[&segment(0, 8, 1)]), UNSUPP, "unmap means nothing to a discard");
        // One bad segment spoils the request before anything is done.
        let mixed = [segment(0, 64, 0), segment(sectors, 1, 0)].concat();
        assert_eq!(guest.status(DISCARD, 0, &[&mixed]), IOERR);
    }
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
    let block = Block::with_disk(Box::new(disk), "root.img".into(), true, String::new(), Trouble::default());
    let mut guest = Guest::with(block.unwrap());
    assert_eq!(guest.status(FLUSH, 0, &[]), OK);
    assert_eq!(guest.status(WRITE_DATA, 0, &[&[1; 512]]), IOERR);
    assert!(log.lock().unwrap().is_empty());
}
