//! Requests of every kind, cut anywhere, with any bytes.

use proptest::prelude::*;

use super::*;

fn header(opcode: u32) -> Header {
    Header { len: 0, opcode, unique: 1, node: 2, uid: 3, gid: 4, pid: 5 }
}

#[test]
fn a_header_is_read_as_the_kernel_writes_it() {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&56u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&26u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&7u64.to_le_bytes());
    bytes[16..24].copy_from_slice(&1u64.to_le_bytes());
    for (place, number) in [(24, 1000u32), (28, 100), (32, 4242)] {
        bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
    }
    let read = Header::parse(&bytes);
    assert_eq!(read, Header { len: 56, opcode: 26, unique: 7, node: 1, uid: 1000, gid: 100, pid: 4242 });
}

#[test]
fn f2_a_name_that_leads_elsewhere_is_refused_in_every_request_that_has_one() {
    // Opcode, what stands before the name, and what must follow it.
    let requests: [(u32, usize, &[u8]); 10] = [
        (1, 0, b""),
        (6, 0, b"target\0"),
        (8, 16, b""),
        (9, 8, b""),
        (10, 0, b""),
        (11, 0, b""),
        (12, 8, b"other\0"),
        (13, 8, b""),
        (35, 16, b""),
        (45, 16, b"other\0"),
    ];
    for (opcode, fields, rest) in requests {
        let body = |name: &[u8]| [&vec![0; fields][..], name, b"\0", rest].concat();
        assert!(Operation::parse(&header(opcode), &body(b"fine")).is_ok(), "{opcode}");
        for name in [&b""[..], b".", b"..", b"../x", b"/etc/passwd", b"a/b"] {
            assert_eq!(Operation::parse(&header(opcode), &body(name)), Err(Errno::INVAL), "{opcode} {name:?}");
        }
        assert_eq!(Operation::parse(&header(opcode), &body(&[b'x'; 256])), Err(Errno::NAMETOOLONG), "{opcode}");
        let endless = [&vec![0; fields][..], b"no end"].concat();
        assert_eq!(Operation::parse(&header(opcode), &endless), Err(Errno::INVAL), "{opcode}");
    }
    for opcode in [12, 45] {
        let fields = if opcode == 12 { 8 } else { 16 };
        let body = [&vec![0; fields][..], b"fine\0..\0"].concat();
        assert_eq!(Operation::parse(&header(opcode), &body), Err(Errno::INVAL), "the second name counts as well");
    }
}

#[test]
fn f1_a_value_longer_than_its_request_is_refused() {
    let body = |size: u32| [&size.to_le_bytes()[..], &[0; 4], b"user.x\0", b"12345"].concat();
    let parsed = Operation::parse(&header(21), &body(5)).map(|operation| format!("{operation:?}"));
    assert!(parsed.is_ok_and(|text| text.contains("49, 50, 51, 52, 53")));
    for size in [6, 1 << 16, u32::MAX] {
        assert_eq!(Operation::parse(&header(21), &body(size)), Err(Errno::INVAL));
    }
}

#[test]
fn f3_a_batch_names_as_many_as_it_says() {
    let body =
        |count: u32| [&count.to_le_bytes()[..], &[0; 4], &[9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]].concat();
    let one = body(1);
    let Ok(Operation::BatchForget(forgets)) = Operation::parse(&header(42), &one) else { panic!("a batch of one") };
    assert_eq!(forgets.iter().collect::<Vec<_>>(), [(9, 2)]);
    for count in [2, u32::MAX] {
        assert!(Operation::parse(&header(42), &body(count)).is_err());
    }
}

#[test]
fn d2_a_mapping_is_read_as_the_kernel_writes_it() {
    let body = |flags: u64| [u64::MAX, 0x20_0000, 0x40_0000, flags, 0x60_0000].map(u64::to_le_bytes).concat();
    for (flags, writable) in [(2, false), (3, true)] {
        let parsed = Operation::parse(&header(48), &body(flags)).map(|operation| format!("{operation:?}"));
        let wanted = SetUpMapping { offset: 0x20_0000, len: 0x40_0000, at: 0x60_0000, writable };
        assert_eq!(parsed, Ok(format!("{:?}", Operation::SetUpMapping(wanted))));
    }
    // Without the right to read, and with bits that mean nothing.
    for flags in [0, 1, 4, 6, 1 << 63 | 2, u64::MAX] {
        assert_eq!(Operation::parse(&header(48), &body(flags)), Err(Errno::INVAL), "{flags:#x}");
    }
    assert_eq!(Operation::parse(&header(48), &body(2)[..39]), Err(Errno::INVAL));
}

#[test]
fn d2_a_removal_names_as_many_pieces_as_it_says() {
    let body = |count: u32, pieces: usize| {
        let piece = [7u64.to_le_bytes(), 9u64.to_le_bytes()].concat();
        [&count.to_le_bytes()[..], &piece.repeat(pieces)].concat()
    };
    let two = body(2, 2);
    let Ok(Operation::RemoveMapping(pieces)) = Operation::parse(&header(49), &two) else { panic!("two pieces") };
    assert_eq!(pieces.iter().collect::<Vec<_>>(), [(7, 9), (7, 9)]);
    assert!(Operation::parse(&header(49), &body(256, 256)).is_ok());
    for (count, pieces) in [(3, 2), (257, 257), (u32::MAX, 2), (1, 0)] {
        assert_eq!(Operation::parse(&header(49), &body(count, pieces)), Err(Errno::INVAL), "{count}");
    }
}

proptest! {
    #[test]
    fn f1_no_bytes_make_it_panic_and_no_request_is_understood_when_cut(
        opcode in 0..60u32, body in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200usize
    ) {
        let whole = Operation::parse(&header(opcode), &body);
        let cut = &body[..cut.min(body.len())];
        // What is left of it may be another request, but never one that reads beyond its end.
        let part = Operation::parse(&header(opcode), cut);
        if whole.is_err() && body.len() == cut.len() {
            prop_assert!(part.is_err());
        }
    }

    #[test]
    fn f2_no_parsed_name_has_a_slash(opcode in 0..60u32, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let name = match Operation::parse(&header(opcode), &body) {
            Ok(
                Operation::Lookup { name } | Operation::SymLink { name, .. } | Operation::MkNod { name, .. }
                | Operation::MkDir { name, .. } | Operation::Unlink { name } | Operation::RmDir { name }
                | Operation::Link { name, .. } | Operation::Create { name, .. },
            ) => name,
            Ok(Operation::Rename { name, new_name, .. }) => {
                prop_assert!(!new_name.bytes().contains(&b'/'));
                name
            }
            _ => return Ok(()),
        };
        prop_assert!(!name.bytes().contains(&b'/') && name.bytes() != b"..");
    }
}
