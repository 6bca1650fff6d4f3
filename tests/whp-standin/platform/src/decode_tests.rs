//! Stores and port instructions as compilers write them. Encodings from the SDM's vol. 2, by hand.

use super::*;

const LONG: Mode = Mode { bits: 64, bases: [0, 0, 0, 0, 0x7000, 0x9000] };

fn regs() -> Regs {
    // RAX RBX RCX RDX RSI RDI RSP RBP R8.., in KVM's order.
    let mut general = [0; 16];
    general[0] = 0x1122_3344_5566_7788;
    general[1] = 0x1000_0000;
    general[2] = 8;
    general[3] = 0x3f8;
    general[9] = 0x2000_0000;
    Regs { general, rip: 0x5000, rflags: 2 }
}

fn decoded(bytes: &[u8]) -> (usize, u8, u64, u64) {
    let found = store(bytes, &regs(), LONG).expect("a store");
    (found.length, found.size, found.address, found.value)
}

#[test]
fn stores_of_all_sizes_and_forms() {
    assert_eq!(decoded(&[0x89, 0x03]), (2, 4, 0x1000_0000, 0x5566_7788));
    assert_eq!(decoded(&[0x48, 0x89, 0x43, 0x10]), (4, 8, 0x1000_0010, 0x1122_3344_5566_7788));
    assert_eq!(decoded(&[0x66, 0x89, 0x83, 0, 1, 0, 0]), (7, 2, 0x1000_0100, 0x7788));
    assert_eq!(decoded(&[0x88, 0x23]), (2, 1, 0x1000_0000, 0x77));
    assert_eq!(decoded(&[0x41, 0x88, 0x01]), (3, 1, 0x2000_0000, 0x88));
    assert_eq!(decoded(&[0xc7, 0x04, 0xcb, 5, 0, 0, 0]), (7, 4, 0x1000_0040, 5));
    assert_eq!(decoded(&[0x48, 0xc7, 0x03, 0xff, 0xff, 0xff, 0xff]), (7, 8, 0x1000_0000, u64::MAX));
    assert_eq!(decoded(&[0x89, 0x05, 0x10, 0, 0, 0]), (6, 4, 0x5016, 0x5566_7788));
    assert_eq!(decoded(&[0x65, 0x89, 0x04, 0x25, 4, 0, 0, 0]), (8, 4, 0x9004, 0x5566_7788));
    assert_eq!(decoded(&[0xa2, 1, 2, 3, 4, 0, 0, 0, 0]), (9, 1, 0x0403_0201, 0x88));
    assert_eq!(decoded(&[0x0f, 0xc3, 0x03]), (3, 4, 0x1000_0000, 0x5566_7788));
}

#[test]
fn what_is_no_plain_store_is_not_taken_for_one() {
    for bytes in [&[0x8b, 0x03][..], &[0x89, 0xc3], &[0xc7, 0x0b, 0, 0, 0, 0], &[0x01, 0x03], &[0x89], &[]] {
        assert_eq!(store(bytes, &regs(), LONG), None, "{bytes:x?}");
    }
}

#[test]
fn a_store_is_found_backwards_by_what_it_wrote() {
    let code = [0x90, 0x48, 0x8b, 0xc1, 0x66, 0x89, 0x03];
    let flat = |linear| Some(linear);
    assert_eq!(store_before(&code, &regs(), LONG, (0x1000_0000, 2, 0x7788), flat), Some(3));
    assert_eq!(store_before(&code, &regs(), LONG, (0x1000_0000, 4, 0x5566_7788), flat), Some(2));
    assert_eq!(store_before(&code, &regs(), LONG, (0x1000_0008, 2, 0x7788), flat), None);
    // Relative to RIP: the candidate's own end counts.
    let relative = [0x90, 0x89, 0x05, 0x10, 0, 0, 0];
    let after = Regs { rip: 0x5006, ..regs() };
    assert_eq!(store_before(&relative, &after, LONG, (0x5016, 4, 0x5566_7788), flat), Some(6));
}

#[test]
fn lengths_of_port_instructions_forwards_and_backwards() {
    assert_eq!(port_length(&[0xec, 0x90], LONG), Some(1));
    assert_eq!(port_length(&[0x66, 0xed], LONG), Some(2));
    assert_eq!(port_length(&[0xe4, 0x64], LONG), Some(2));
    assert_eq!(port_length(&[0x6c], LONG), None);
    assert_eq!(out_before(&[0x90, 0xee], &regs(), LONG, 0x3f8, 1), Some(1));
    assert_eq!(out_before(&[0x90, 0xe6, 0x10], &regs(), LONG, 0x10, 1), Some(2));
    assert_eq!(out_before(&[0x66, 0xef], &regs(), LONG, 0x3f8, 2), Some(2));
    assert_eq!(out_before(&[0x90, 0x90], &regs(), LONG, 0x10, 1), None);
}
