//! Just enough x86 to find where an instruction began that KVM has already finished: the plain stores with which kernels
//! write to devices, and OUT. Also the length of IN and OUT. Pure; used by `exit`.
//!
//! The instruction that ends at RIP is sought backwards: a candidate counts only if it would have written the same bytes to
//! the same address. Two candidates that both fit differ by prefixes without effect, so either is right.

use crate::kvm::Regs;

/// How code is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Default operand size in bits: 16, 32, or 64 for long mode.
    pub bits: u8,
    /// Segment bases in the order ES CS SS DS FS GS; zero in long mode but for FS and GS.
    pub bases: [u64; 6],
}

/// A store, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// Bytes of the instruction.
    pub length: usize,
    /// Bytes that it writes.
    pub size: u8,
    /// Linear address.
    pub address: u64,
    /// What it writes; the low `size` bytes count.
    pub value: u64,
}

#[derive(Default)]
struct Prefixes {
    operand: bool,
    address: bool,
    segment: Option<usize>,
    rex: u8,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, size: usize) -> Option<i64> {
        let bytes = self.bytes.get(self.at..self.at + size)?;
        self.at += size;
        let raw = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let unused = 64 - 8 * size as u32;
        Some(((raw << unused) as i64) >> unused)
    }
}

const ORDER: [usize; 8] = [0, 2, 3, 1, 6, 7, 4, 5];

/// A register by its number in instructions.
fn register(regs: &Regs, number: u8) -> u64 {
    let number = usize::from(number);
    regs.general[if number < 8 { ORDER[number] } else { number }]
}

fn prefixes(reader: &mut Reader, mode: Mode) -> Option<Prefixes> {
    let mut found = Prefixes::default();
    loop {
        let byte = *reader.bytes.get(reader.at)?;
        match byte {
            0x66 => found.operand = true,
            0x67 => found.address = true,
            0x26 => found.segment = Some(0),
            0x2e => found.segment = Some(1),
            0x36 => found.segment = Some(2),
            0x3e => found.segment = Some(3),
            0x64 => found.segment = Some(4),
            0x65 => found.segment = Some(5),
            0x40..=0x4f if mode.bits == 64 => {
                found.rex = byte;
                reader.at += 1;
                return Some(found);
            }
            _ => return Some(found),
        }
        reader.at += 1;
    }
}

/// MOV to memory in its forms (88, 89, A2, A3, C6 /0, C7 /0) and MOVNTI; `None` for everything else.
pub fn store(bytes: &[u8], regs: &Regs, mode: Mode) -> Option<Store> {
    let mut reader = Reader { bytes, at: 0 };
    let prefix = prefixes(&mut reader, mode)?;
    let opcode = reader.take(1)? as u8;
    let movnti = opcode == 0x0f;
    if movnti && reader.take(1)? as u8 != 0xc3 {
        return None;
    }
    let size = match opcode {
        0x88 | 0xa2 | 0xc6 => 1,
        0x89 | 0xa3 | 0xc7 | 0x0f if prefix.rex & 8 != 0 => 8,
        0x89 | 0xa3 | 0xc7 | 0x0f => {
            if prefix.operand != (mode.bits == 16) {
                2
            } else {
                4
            }
        }
        _ => return None,
    };
    let address_bits = if prefix.address { if mode.bits == 32 { 16 } else { 32 } } else { mode.bits };
    if matches!(opcode, 0xa2 | 0xa3) {
        let offset = reader.take(usize::from(address_bits / 8))? as u64 & low(address_bits / 8);
        let address = mode.bases[prefix.segment.unwrap_or(3)].wrapping_add(offset);
        return Some(Store { length: reader.at, size, address, value: regs.general[0] & low(size) });
    }
    let modrm = reader.take(1)? as u8;
    let (kind, field) = (modrm >> 6, modrm >> 3 & 7);
    let immediate = matches!(opcode, 0xc6 | 0xc7);
    if kind == 3 || address_bits == 16 || immediate && field != 0 {
        return None;
    }
    let (offset, segment, relative) = address(&mut reader, modrm, regs, prefix.rex, mode)?;
    let value = if immediate {
        reader.take(usize::from(size.min(4)))? as u64
    } else if size == 1 && prefix.rex == 0 && field >= 4 {
        register(regs, field - 4) >> 8
    } else {
        register(regs, field | (prefix.rex & 4) << 1)
    };
    let offset = if relative { offset.wrapping_add(regs.rip).wrapping_add(reader.at as u64) } else { offset };
    let address = mode.bases[prefix.segment.unwrap_or(segment)].wrapping_add(offset & low(address_bits / 8));
    Some(Store { length: reader.at, size, address, value: value & low(size) })
}

/// The bits of so many bytes.
fn low(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * u32::from(size))) - 1 }
}

/// The memory operand of 32- and 64-bit addressing: offset, its default segment, and whether RIP has to be added.
fn address(reader: &mut Reader, modrm: u8, regs: &Regs, rex: u8, mode: Mode) -> Option<(u64, usize, bool)> {
    const STACK: usize = 2;
    const DATA: usize = 3;
    let kind = modrm >> 6;
    let (mut offset, mut segment, mut relative) = (0u64, DATA, false);
    let mut wide = kind == 2;
    match modrm & 7 {
        4 => {
            let sib = reader.take(1)? as u8;
            let (index, base) = (sib >> 3 & 7 | (rex & 2) << 2, sib & 7 | (rex & 1) << 3);
            if index != 4 {
                offset = register(regs, index) << (sib >> 6);
            }
            if base & 7 == 5 && kind == 0 {
                wide = true;
            } else {
                offset = offset.wrapping_add(register(regs, base));
                segment = if matches!(base, 4 | 5) { STACK } else { DATA };
            }
        }
        5 if kind == 0 => (wide, relative) = (true, mode.bits == 64),
        base => {
            offset = register(regs, base | (rex & 1) << 3);
            segment = if base == 5 && rex & 1 == 0 { STACK } else { DATA };
        }
    }
    let displacement = if wide {
        reader.take(4)?
    } else if kind == 1 {
        reader.take(1)?
    } else {
        0
    };
    Some((offset.wrapping_add(displacement as u64), segment, relative))
}

/// The length of the IN or OUT (not a string instruction) at the start of `bytes`.
pub fn port_length(bytes: &[u8], mode: Mode) -> Option<usize> {
    let mut reader = Reader { bytes, at: 0 };
    prefixes(&mut reader, mode)?;
    match reader.take(1)? as u8 {
        0xe4..=0xe7 => Some(reader.at + 1),
        0xec..=0xef => Some(reader.at),
        _ => None,
    }
}

/// How long the OUT is that ends where `before` ends.
pub fn out_before(before: &[u8], regs: &Regs, mode: Mode, port: u16, size: u8) -> Option<usize> {
    let wide = u8::from(size != 1);
    let ends = |tail: &[u8]| before.ends_with(tail).then_some(tail.len());
    let bare = ends(&[0xee | wide])
        .filter(|_| register(regs, 2) as u16 == port)
        .or_else(|| u8::try_from(port).ok().and_then(|port| ends(&[0xe6 | wide, port])))?;
    let prefixed = size == 2 && mode.bits != 16 || size == 4 && mode.bits == 16;
    let has_prefix = before.len() > bare && before[before.len() - bare - 1] == 0x66;
    if prefixed { has_prefix.then_some(bare + 1) } else { Some(bare) }
}

/// How long the store is that ends where `before` ends, by what it must have written. `linear` gives the guest-physical
/// address of a linear one.
pub fn store_before(
    before: &[u8],
    after: &Regs,
    mode: Mode,
    wanted: (u64, u8, u64),
    linear: impl Fn(u64) -> Option<u64>,
) -> Option<usize> {
    let (physical, size, value) = wanted;
    (2..=before.len().min(15)).rev().find(|&length| {
        let regs = Regs { rip: after.rip.wrapping_sub(length as u64), ..*after };
        store(&before[before.len() - length..], &regs, mode).is_some_and(|found| {
            (found.length, found.size, found.value) == (length, size, value & low(size))
                && linear(found.address) == Some(physical)
        })
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
