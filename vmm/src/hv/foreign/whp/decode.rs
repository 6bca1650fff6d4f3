//! The plain moves between a register and memory that drivers make for device registers, decoded from their bytes in 64-bit
//! mode, so that an access to a device costs no call of the platform's emulator. Where the access goes is not decoded: the
//! exit says that. Everything else is `None` and left to the emulator. Called by the backend's `mmio`.
//!
//! ```text
//!   [66] [67] [segment] [REX] 88|89|8a|8b|c6|c7|0f b6|0f b7  ModRM [SIB] [displacement] [immediate]
//! ```
//! Encodings are those of the SDM, volume 2, chapters 2 and 4 (MOV, MOVZX).

/// An instruction is at most this long, in bytes (SDM vol. 2 §2.3.11).
const LONGEST: usize = 15;

/// One decoded move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Bytes of the instruction.
    pub length: u8,
    /// Bytes of memory that it touches: 1, 2, 4 or 8.
    pub width: u8,
    /// What moves where.
    pub way: Way,
}

/// The direction of a [`Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From memory.
    Load(Target),
    /// To memory, from a register.
    Store(Source),
    /// To memory: this value, of which the low [`Move::width`] bytes count.
    StoreImmediate(u64),
}

/// Where a load goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Number of the register in the order of the encoding: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, ….
    pub register: u8,
    /// Bytes of the register that are written; those that memory does not fill are zeroed.
    pub width: u8,
    /// Second byte of the register (ah, ch, dh, bh).
    pub high: bool,
}

/// Where a store comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Number of the register, as in [`Target`].
    pub register: u8,
    /// Second byte of the register (ah, ch, dh, bh).
    pub high: bool,
}

impl Target {
    /// What the register holds after `data` was loaded, where it held `before`.
    pub fn after(&self, before: u64, data: &[u8]) -> u64 {
        let value = number(data);
        match (self.width, self.high) {
            (1, true) => before & !0xff00 | (value & 0xff) << 8,
            (1, false) => before & !0xff | value & 0xff,
            (2, _) => before & !0xffff | value & 0xffff,
            // A 32-bit result clears the upper half (SDM vol. 1 §3.4.1.1).
            (4, _) => value & 0xffff_ffff,
            _ => value,
        }
    }
}

impl Source {
    /// The bytes to store when the register holds `value`; the first [`Move::width`] count.
    pub fn bytes(&self, value: u64) -> [u8; 8] {
        (if self.high { value >> 8 } else { value }).to_le_bytes()
    }
}

/// At most eight bytes as a number.
fn number(data: &[u8]) -> u64 {
    data.iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The prefixes of one instruction.
#[derive(Default)]
struct Prefixes {
    word: bool,
    /// 0 without one.
    rex: u8,
}

impl Prefixes {
    /// Bytes of the operand of an instruction that is not of bytes.
    fn operand(&self) -> u8 {
        match (self.rex & 0b1000 != 0, self.word) {
            (true, _) => 8,
            (false, true) => 2,
            (false, false) => 4,
        }
    }

    /// A byte register: without REX, 4 to 7 are the second bytes of the first four.
    fn byte_register(&self, number: u8) -> (u8, bool) {
        if self.rex == 0 && (4..8).contains(&number) { (number - 4, true) } else { (number, false) }
    }
}

/// The bytes that are left.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.all.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A little-endian number of `width` bytes, at most 8, sign-extended; 0 of none.
    fn signed(&mut self, width: u8) -> Option<u64> {
        let bytes = self.all.get(self.at..self.at + usize::from(width))?;
        self.at += usize::from(width);
        let unused = 8 * u32::from(8 - width.clamp(1, 8));
        Some(((number(bytes) << unused).cast_signed() >> unused).cast_unsigned())
    }
}

/// Decodes the instruction at the start of `bytes`, which may go on beyond it, as a processor in 64-bit mode would.
pub fn decode(bytes: &[u8]) -> Option<Move> {
    let mut rest = Bytes { all: &bytes[..bytes.len().min(LONGEST)], at: 0 };
    let (prefixes, opcode) = prefixes(&mut rest)?;
    let operand = prefixes.operand();
    let (width, way) = match opcode {
        0x88 => {
            let (register, high) = prefixes.byte_register(memory_operand(&mut rest, &prefixes)?);
            (1, Way::Store(Source { register, high }))
        }
        0x89 => (operand, Way::Store(Source { register: memory_operand(&mut rest, &prefixes)?, high: false })),
        0x8a => {
            let (register, high) = prefixes.byte_register(memory_operand(&mut rest, &prefixes)?);
            (1, Way::Load(Target { register, width: 1, high }))
        }
        0x8b => {
            let register = memory_operand(&mut rest, &prefixes)?;
            (operand, Way::Load(Target { register, width: operand, high: false }))
        }
        0xc6 | 0xc7 => {
            // The register field extends the opcode here, and REX.R does not reach it.
            if memory_operand(&mut rest, &prefixes)? & 0b111 != 0 {
                return None;
            }
            let width = if opcode == 0xc6 { 1 } else { operand };
            (width, Way::StoreImmediate(rest.signed(width.min(4))?))
        }
        0x0f => {
            let width = match rest.next()? {
                0xb6 => 1,
                0xb7 => 2,
                _ => return None,
            };
            let register = memory_operand(&mut rest, &prefixes)?;
            (width, Way::Load(Target { register, width: operand, high: false }))
        }
        _ => return None,
    };
    let length = u8::try_from(rest.at).ok()?;
    Some(Move { length, width, way })
}

/// Reads prefixes up to the opcode. Those that change what a move does (LOCK, REP) make it none of ours.
fn prefixes(rest: &mut Bytes<'_>) -> Option<(Prefixes, u8)> {
    let mut prefixes = Prefixes::default();
    loop {
        match rest.next()? {
            0x66 => prefixes.word = true,
            // Another segment or a shorter address: the exit has said where the access goes.
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 => {}
            // REX counts only right before the opcode; before another prefix it would be ignored, which nobody writes.
            rex @ 0x40..=0x4f => {
                prefixes.rex = rex;
                let opcode = rest.next()?;
                return (!is_prefix(opcode)).then_some((prefixes, opcode));
            }
            0xf0 | 0xf2 | 0xf3 => return None,
            opcode => return Some((prefixes, opcode)),
        }
    }
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// Steps over ModRM, SIB and displacement of an operand in memory; returns the number in the register field.
fn memory_operand(rest: &mut Bytes<'_>, prefixes: &Prefixes) -> Option<u8> {
    let modrm = rest.next()?;
    let (mode, base) = (modrm >> 6, modrm & 0b111);
    let sib = if mode != 0b11 && base == 0b100 { Some(rest.next()?) } else { None };
    let displacement = match mode {
        // Without a base register: an address of its own, or from the instruction pointer on.
        0b00 if base == 0b101 || sib.is_some_and(|sib| sib & 0b111 == 0b101) => 4,
        0b00 => 0,
        0b01 => 1,
        0b10 => 4,
        _ => return None,
    };
    rest.signed(displacement)?;
    Some(modrm >> 3 & 0b111 | (prefixes.rex & 0b100) << 1)
}

#[cfg(test)]
mod tests;
