//! As much of ELF as the recipe needs: is this an executable for the guest, which shared libraries does it name, and where its
//! parts are (System V gABI, chapters 4 and 5). Reads bytes that came from outside, so nothing is indexed unchecked.

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const PT_LOAD: u32 = 1;
/// `p_type` of the dynamic section.
pub const PT_DYNAMIC: u32 = 2;
/// `p_type` of the dynamic loader's path.
pub const PT_INTERP: u32 = 3;
/// `p_type` of notes.
pub const PT_NOTE: u32 = 4;

/// `e_machine` of x86-64.
pub const X86_64: u16 = 62;
/// `e_machine` of AArch64.
pub const AARCH64: u16 = 183;

/// What a 64-bit little-endian ELF file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The CPU that it is for.
    pub machine: u16,
    /// Whether it has to be started by a dynamic loader.
    pub interpreted: bool,
    /// Names of the shared libraries that it needs.
    pub needed: Vec<String>,
}

/// A program header.
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// Where it is in the file.
    pub offset: u64,
    /// Where it is in memory.
    pub address: u64,
    /// Bytes of it in the file.
    pub size: u64,
}

/// Reads the headers and the dynamic section; `None` if `file` is not a well-formed 64-bit little-endian ELF file.
pub fn read(file: &[u8]) -> Option<Elf> {
    let segments = segments(file)?;
    let machine = number(file, 18, 2)?;
    let needed = match segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
        Some(dynamic) => needed(file, dynamic, &segments)?,
        None => Vec::new(),
    };
    let interpreted = segments.iter().any(|segment| segment.kind == PT_INTERP);
    Some(Elf { machine: machine as u16, interpreted, needed })
}

/// The program headers; `None` if `file` is not a 64-bit little-endian ELF file.
pub fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    let identity = file.get(..6)?;
    if identity != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
    (0..count).map(|i| segment(file, table.checked_add(i.checked_mul(size)?)?)).collect()
}

fn segment(file: &[u8], at: u64) -> Option<Segment> {
    Some(Segment {
        kind: number(file, at, 4)? as u32,
        offset: number(file, at.checked_add(8)?, 8)?,
        address: number(file, at.checked_add(16)?, 8)?,
        size: number(file, at.checked_add(32)?, 8)?,
    })
}

/// Tags and values of the dynamic section.
pub fn dynamic(file: &[u8], section: &Segment) -> Option<Vec<(u64, u64)>> {
    let entry = |i: u64| {
        let at = section.offset.checked_add(i * 16)?;
        Some((number(file, at, 8)?, number(file, at.checked_add(8)?, 8)?))
    };
    (0..section.size / 16).map(entry).collect()
}

/// Where in the file the `length` bytes are that are at `address` in memory; `None` if no segment has them all.
pub fn offset(segments: &[Segment], address: u64, length: u64) -> Option<u64> {
    let holds = |segment: &&Segment| {
        let at = address.checked_sub(segment.address);
        segment.kind == PT_LOAD && at.and_then(|at| at.checked_add(length)).is_some_and(|end| end <= segment.size)
    };
    let home = segments.iter().find(holds)?;
    home.offset.checked_add(address - home.address)
}

fn needed(file: &[u8], section: &Segment, segments: &[Segment]) -> Option<Vec<String>> {
    let entries = dynamic(file, section)?;
    let strings = offset(segments, entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?.1, 1)?;
    let names = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    names.map(|(_, offset)| string(file, strings.checked_add(*offset)?)).collect()
}

fn string(file: &[u8], at: u64) -> Option<String> {
    let rest = file.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok().map(str::to_owned)
}

/// The little-endian number of `length` bytes at `at`.
pub fn number(file: &[u8], at: u64, length: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = file.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_is_read() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = read(&file).unwrap();
        assert!(elf.interpreted && elf.needed.iter().any(|name| name.starts_with("libc.so")), "{elf:?}");
    }

    #[test]
    fn cut_and_flipped_files_never_panic() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in 0..1024 {
            let _ = read(&file[..length]);
        }
        let mut head = file[..8192.min(file.len())].to_vec();
        for at in 0..head.len() {
            let kept = head[at];
            head[at] = !kept;
            let _ = read(&head);
            head[at] = kept;
        }
        assert_eq!(read(b"#!/bin/sh\n"), None);
    }
}
