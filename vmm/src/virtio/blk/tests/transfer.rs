//! Reads, writes, identification and the configuration space: what goes where, and what is refused (B1, B2).

use proptest::prelude::*;

use super::*;
use crate::virtio::mock::{Descriptor, NEXT, WRITE};

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
    let discard = if crate::sys::HOLES.is_some() { (16, 8) } else { (0, 0) };
    assert_eq!(((word(40), word(44)), word(52)), (discard, 1), "discard segments and alignment, zero segments");
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
        let config = DiskConfig { file, path: "data.img".into(), read_only: false, serial: serial.to_owned() };
        Block::new(config, Trouble::default())
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
