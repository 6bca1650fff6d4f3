//! Instructions written by an encoder of the tests' own, and bytes that are none.

use proptest::prelude::*;

use super::*;

/// An operand in memory as the encoder chooses it: ModRM's mode and base, SIB, displacement.
#[derive(Debug, Clone)]
struct Memory {
    mode: u8,
    base: u8,
    sib: u8,
    displacement: [u8; 4],
}

impl Memory {
    fn encode(&self, register: u8) -> Vec<u8> {
        let mut bytes = vec![self.mode << 6 | (register & 7) << 3 | self.base];
        if self.base == 4 {
            bytes.push(self.sib);
        }
        let alone = self.mode == 0 && (self.base == 5 || self.base == 4 && self.sib & 7 == 5);
        let count = match self.mode {
            0 if alone => 4,
            0 => 0,
            1 => 1,
            _ => 4,
        };
        bytes.extend(&self.displacement[..count]);
        bytes
    }
}

fn memory() -> impl Strategy<Value = Memory> {
    (0..3u8, 0..8u8, any::<u8>(), any::<[u8; 4]>()).prop_map(|(mode, base, sib, displacement)| Memory {
        mode,
        base,
        sib,
        displacement,
    })
}

/// Legacy prefixes that change nothing, then the operand's size as `66` or REX.W, then REX.
fn prefixed(harmless: &[u8], operand: u8, register: u8, rex: bool, rest: &[u8]) -> Vec<u8> {
    let mut bytes = harmless.to_vec();
    if operand == 2 {
        bytes.push(0x66);
    }
    if rex || operand == 8 || register > 7 {
        bytes.push(0x40 | u8::from(operand == 8) << 3 | (register >> 3) << 2);
    }
    bytes.extend(rest);
    bytes
}

fn harmless() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67]), 0..3)
}

fn operand() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![2u8, 4, 8])
}

/// Decodes `bytes` with something behind them, and with one byte too few, which must not do.
fn decoded(bytes: &[u8], after: &[u8]) -> Option<Move> {
    let whole = decode(&[bytes, after].concat());
    assert_eq!(whole, decode(bytes), "what comes after an instruction does not matter");
    (0..bytes.len()).for_each(|end| assert_eq!(decode(&bytes[..end]), None, "half an instruction is none"));
    whole
}

fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).expect("short")
}

proptest! {
    #[test]
    fn moves_of_words_and_longer_are_known(
        load: bool, operand in operand(), register in 0..16u8, rex: bool, memory in memory(), harmless in harmless(),
        after: [u8; 4],
    ) {
        let body = [vec![if load { 0x8b } else { 0x89 }], memory.encode(register)].concat();
        let bytes = prefixed(&harmless, operand, register, rex, &body);
        let way = if load {
            Way::Load(Target { register, width: operand, high: false })
        } else {
            Way::Store(Source { register, high: false })
        };
        prop_assert_eq!(decoded(&bytes, &after), Some(Move { length: length(&bytes), width: operand, way }));
    }

    #[test]
    fn moves_of_bytes_are_known_and_old_byte_registers_too(
        load: bool, register in 0..16u8, rex: bool, memory in memory(), harmless in harmless(), after: [u8; 4],
    ) {
        let body = [vec![if load { 0x8a } else { 0x88 }], memory.encode(register)].concat();
        let bytes = prefixed(&harmless, 4, register, rex, &body);
        let high = !rex && (4..8).contains(&register);
        let register = if high { register - 4 } else { register };
        let way = if load { Way::Load(Target { register, width: 1, high }) } else { Way::Store(Source { register, high }) };
        prop_assert_eq!(decoded(&bytes, &after), Some(Move { length: length(&bytes), width: 1, way }));
    }

    #[test]
    fn constants_are_stored(
        byte: bool, operand in operand(), memory in memory(), harmless in harmless(), value: i32, after: [u8; 4],
    ) {
        let width = if byte { 1 } else { operand };
        let mut body = vec![if byte { 0xc6 } else { 0xc7 }];
        body.extend(memory.encode(0));
        body.extend(&value.to_le_bytes()[..usize::from(width.min(4))]);
        let bytes = prefixed(&harmless, operand, 0, false, &body);
        let expected = match width {
            1 => i64::from(value as i8),
            2 => i64::from(value as i16),
            _ => i64::from(value),
        };
        let way = Way::StoreImmediate(expected.cast_unsigned());
        prop_assert_eq!(decoded(&bytes, &after), Some(Move { length: length(&bytes), width, way }));
    }

    #[test]
    fn loads_that_fill_up_with_zeroes_are_known(
        word: bool, operand in operand(), register in 0..16u8, memory in memory(), after: [u8; 4],
    ) {
        let body = [vec![0x0f, if word { 0xb7 } else { 0xb6 }], memory.encode(register)].concat();
        let bytes = prefixed(&[], operand, register, false, &body);
        let way = Way::Load(Target { register, width: operand, high: false });
        let width = if word { 2 } else { 1 };
        prop_assert_eq!(decoded(&bytes, &after), Some(Move { length: length(&bytes), width, way }));
    }

    #[test]
    fn any_bytes_are_survived_and_what_is_decoded_is_within_them(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Some(found) = decode(&bytes) {
            prop_assert!(usize::from(found.length) <= bytes.len().min(LONGEST) && found.length >= 2);
            prop_assert!([1, 2, 4, 8].contains(&found.width));
        }
    }

    #[test]
    fn loads_change_what_they_are_meant_to(before: u64, data: [u8; 8], register in 0..16u8) {
        let after = |width, high, count| Target { register, width, high }.after(before, &data[..count]);
        let value = u64::from_le_bytes(data);
        prop_assert_eq!(after(1, false, 1), before & !0xff | value & 0xff);
        prop_assert_eq!(after(1, true, 1), before & !0xff00 | (value & 0xff) << 8);
        prop_assert_eq!(after(2, false, 2), before & !0xffff | value & 0xffff);
        prop_assert_eq!(after(4, false, 4), value & 0xffff_ffff);
        prop_assert_eq!(after(8, false, 8), value);
        prop_assert_eq!(after(8, false, 1), value & 0xff, "zero-extended");
        prop_assert_eq!(after(2, false, 1), before & !0xffff | value & 0xff, "zero-extended to its 16 bits");
    }
}

#[test]
fn what_a_driver_in_linux_does_is_known() {
    // mov eax, [rdi+0x50]; mov [rbx+rcx*4+0x70], r9d; movzx eax, byte [rip+4]
    let store = Way::Store(Source { register: 9, high: false });
    let load = |width| Way::Load(Target { register: 0, width, high: false });
    assert_eq!(decode(&[0x8b, 0x47, 0x50]), Some(Move { length: 3, width: 4, way: load(4) }));
    assert_eq!(decode(&[0x44, 0x89, 0x4c, 0x8b, 0x70]), Some(Move { length: 5, width: 4, way: store }));
    assert_eq!(decode(&[0x0f, 0xb6, 0x05, 4, 0, 0, 0]), Some(Move { length: 7, width: 1, way: load(4) }));
}

#[test]
fn what_is_no_plain_move_is_left_alone() {
    // Between registers; lock; rep movsd; add; xchg; mov to a control register; c7 /1; REX before a prefix; too long.
    let others: [&[u8]; 9] = [
        &[0x8b, 0xc0],
        &[0xf0, 0x89, 0x07],
        &[0xf3, 0xa5],
        &[0x01, 0x07],
        &[0x87, 0x07],
        &[0x0f, 0x22, 0xc0],
        &[0xc7, 0x0f, 0, 0, 0, 0],
        &[0x48, 0x66, 0x89, 0x07],
        &[0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0xc7, 0x07, 0, 0, 0, 0],
    ];
    for bytes in others {
        assert_eq!(decode(bytes), None, "{bytes:x?}");
    }
}

#[test]
fn the_second_byte_of_a_register_is_stored_from_its_place() {
    // mov [rdi], ah; mov [rdi], spl
    assert_eq!(decode(&[0x88, 0x27]).map(|found| found.way), Some(Way::Store(Source { register: 0, high: true })));
    assert_eq!(
        decode(&[0x40, 0x88, 0x27]).map(|found| found.way),
        Some(Way::Store(Source { register: 4, high: false }))
    );
    assert_eq!(Source { register: 0, high: true }.bytes(0x1234)[0], 0x12);
    assert_eq!(Source { register: 4, high: false }.bytes(0x1234)[0], 0x34);
}
