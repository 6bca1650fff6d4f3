//! Takes the names that nobody looks up out of Go programs. Debian links dockerd, containerd and its shim so that Go plugins could
//! find everything in them: 420 000 names with their tables, 29 of their 168 MB. The guest has no plugins, and what is not there need
//! not be downloaded, hashed at each start, or kept in memory. Called by `rootfs`.
//!
//! Nothing moves: the tables stay where they are and are overwritten with zeroes, which take no room when they are packed.
//!
//! ```text
//!   dynsym    what the program needs of others: kept;  what it offers: zeroed, or made local if a relocation of its own names it
//!   dynstr    zeroed but for the names that are kept
//!   gnu.hash  one that holds nothing (System V gABI; binutils writes the same for a program that offers nothing)
//! ```
//!
//! A file with anything that is not understood is left as it is.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::elf;

const SHT_DYNSYM: u64 = 11;
const SHT_GNU_HASH: u64 = 0x6fff_fff6;

const DT_NEEDED: u64 = 1;
const DT_PLTRELSZ: u64 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_STRSZ: u64 = 10;
const DT_RUNPATH: u64 = 29;
const DT_JMPREL: u64 = 23;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;
/// Tags whose value is a name, and which no program here has: `SONAME`, `RPATH`, and those of auxiliary filters.
const OTHER_NAMES: [u64; 4] = [14, 15, 0x7fff_fffd, 0x7fff_ffff];

/// `R_X86_64_COPY` and `R_AARCH64_COPY`: a library uses the program's copy of its own variable, and finds it by name.
const COPIES: [u64; 2] = [5, 1024];

const SYMBOL: usize = 24;
const RELOCATION: usize = 24;

/// `program` without the names that it offers; `None` if it is no Go program, offers nothing, or is not understood.
pub fn without_exports(program: &[u8]) -> Option<Vec<u8>> {
    let tables = Tables::of(program)?;
    let named = tables.named_by_relocations()?;
    let mut kept = tables.names()?;
    let mut smaller = program.to_vec();
    let mut dropped = 0;
    // The first symbol is none.
    // The first symbol is none.
    for index in 1..tables.symbols.len() / SYMBOL {
        let at = tables.symbols.start + index * SYMBOL;
        let name = elf::number(program, at as u64, 4)?;
        let defined = elf::number(program, at as u64 + 6, 2)? != 0;
        if !defined {
            kept.insert(name);
        } else if named.contains(&(index as u64)) {
            kept.insert(name);
            // The loader takes a local symbol as it is, without looking for its name.
            *smaller.get_mut(at + 4)? &= 0x0f;
        } else {
            smaller.get_mut(at..at + SYMBOL)?.fill(0);
            if let Some(versions) = &tables.versions {
                smaller.get_mut(versions.start + 2 * index..versions.start + 2 * index + 2)?.fill(0);
            }
            dropped += 1;
        }
    }
    if dropped == 0 {
        return None;
    }
    smaller.get_mut(tables.strings.clone())?.fill(0);
    for name in kept {
        let at = tables.strings.start.checked_add(usize::try_from(name).ok()?)?;
        let length = program.get(at..tables.strings.end)?.iter().position(|byte| *byte == 0)?;
        smaller.get_mut(at..at + length)?.copy_from_slice(program.get(at..at + length)?);
    }
    // One bucket, which is empty; all symbols lie before the first that is in it; a filter that lets nothing through.
    let mut empty = Vec::new();
    for word in [1, (tables.symbols.len() / SYMBOL) as u32, 1, 0, 0, 0, 0] {
        empty.extend_from_slice(&word.to_le_bytes());
    }
    let hash = smaller.get_mut(tables.hash.clone())?;
    hash.fill(0);
    hash.get_mut(..empty.len())?.copy_from_slice(&empty);
    Some(smaller)
}

/// Where things are in the file.
struct Tables<'a> {
    file: &'a [u8],
    segments: Vec<elf::Segment>,
    dynamic: Vec<(u64, u64)>,
    symbols: Range<usize>,
    strings: Range<usize>,
    hash: Range<usize>,
    versions: Option<Range<usize>>,
}

impl<'a> Tables<'a> {
    fn of(file: &'a [u8]) -> Option<Self> {
        let segments = elf::segments(file)?;
        segments.iter().find(|segment| segment.kind == elf::PT_INTERP)?;
        segments.iter().filter(|segment| segment.kind == elf::PT_NOTE).find(|note| is_of_go(file, note))?;
        let dynamic = elf::dynamic(file, segments.iter().find(|segment| segment.kind == elf::PT_DYNAMIC)?)?;
        let value = |tag: u64| dynamic.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
        if [DT_HASH, DT_VERDEF].into_iter().chain(OTHER_NAMES).any(|tag| value(tag).is_some()) {
            return None;
        }
        let range = |address: u64, length: u64| {
            let at = usize::try_from(elf::offset(&segments, address, length)?).ok()?;
            let range = at..at.checked_add(usize::try_from(length).ok()?)?;
            file.get(range.clone()).map(|_| range)
        };
        // How many symbols there are is said by the section alone.
        let symbols = section(file, SHT_DYNSYM).filter(|(address, _)| Some(*address) == value(DT_SYMTAB))?;
        let count = symbols.1 / SYMBOL as u64;
        let hash = section(file, SHT_GNU_HASH)?;
        Some(Self {
            file,
            symbols: range(symbols.0, count * SYMBOL as u64)?,
            strings: range(value(DT_STRTAB)?, value(DT_STRSZ)?)?,
            hash: range(hash.0, hash.1)?,
            versions: match value(DT_VERSYM) {
                Some(address) => Some(range(address, count * 2)?),
                None => None,
            },
            dynamic,
            segments,
        })
    }

    fn value(&self, tag: u64) -> Option<u64> {
        self.dynamic.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    /// Symbols that the program's own relocations name; `None` if one of them copies a library's variable.
    fn named_by_relocations(&self) -> Option<BTreeSet<u64>> {
        let mut named = BTreeSet::new();
        for (table, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            let (Some(table), Some(size)) = (self.value(table), self.value(size)) else { continue };
            let at = elf::offset(&self.segments, table, size)?;
            for entry in 0..size / RELOCATION as u64 {
                let about = elf::number(self.file, at.checked_add(entry * RELOCATION as u64)?.checked_add(8)?, 8)?;
                if COPIES.contains(&(about & 0xffff_ffff)) {
                    return None;
                }
                named.insert(about >> 32);
            }
        }
        Some(named)
    }

    /// Names that are not of symbols: libraries, and the versions of what is needed of them.
    fn names(&self) -> Option<BTreeSet<u64>> {
        let named = |tag: &u64| [DT_NEEDED, DT_RUNPATH].contains(tag);
        let mut names: BTreeSet<u64> =
            self.dynamic.iter().filter(|(tag, _)| named(tag)).map(|(_, value)| *value).collect();
        let Some(table) = self.value(DT_VERNEED) else { return Some(names) };
        let mut at = elf::offset(&self.segments, table, 16)?;
        let word = |at: u64, behind: u64, length| elf::number(self.file, at.checked_add(behind)?, length);
        // One for each library.
        for _ in 0..self.value(DT_VERNEEDNUM).filter(|count| *count < 1000)? {
            names.insert(word(at, 4, 4)?);
            let mut version = at.checked_add(word(at, 8, 4)?)?;
            for _ in 0..word(at, 2, 2)? {
                names.insert(word(version, 8, 4)?);
                version = version.checked_add(word(version, 12, 4)?)?;
            }
            at = at.checked_add(word(at, 12, 4)?)?;
        }
        Some(names)
    }
}

/// Whether a segment of notes has one of Go's: the owner `Go` with its zero, padded.
fn is_of_go(file: &[u8], notes: &elf::Segment) -> bool {
    let (Ok(at), Ok(size)) = (usize::try_from(notes.offset), usize::try_from(notes.size)) else { return false };
    let notes = at.checked_add(size).and_then(|end| file.get(at..end)).unwrap_or_default();
    notes.chunks_exact(4).any(|word| word == b"Go\0\0")
}

/// Address and size of the one section of a kind.
fn section(file: &[u8], kind: u64) -> Option<(u64, u64)> {
    let (table, size, count) = (elf::number(file, 40, 8)?, elf::number(file, 58, 2)?, elf::number(file, 60, 2)?);
    (0..count).find_map(|index| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let found = elf::number(file, at.checked_add(4)?, 4)? == kind;
        found.then_some((elf::number(file, at.checked_add(16)?, 8)?, elf::number(file, at.checked_add(32)?, 8)?))
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Uses libraries, a variable of theirs, one of each thread, and offers names as Debian's Go programs do.
    const PROGRAM: &str = r#"
        #include <stdio.h>
        #include <stdlib.h>
        __thread int of_each_thread = 40;
        int offered_to_plugins(int x) { return x + 2; }
        static int (*pointer)(int) = offered_to_plugins;
        int main(int argc, char **argv) {
            of_each_thread = pointer(of_each_thread);
            fprintf(stderr, "%d %s\n", of_each_thread, getenv("HOME") ? "home" : "none");
            return of_each_thread;
        }
    "#;

    /// As the linker makes it, and then with Go's note in the place of the linker's own.
    fn built(dir: &Path, flags: &[&str]) -> Vec<u8> {
        let (source, program) = (dir.join("program.c"), dir.join("program"));
        std::fs::write(&source, PROGRAM).unwrap();
        let done = Command::new("cc").args(["-rdynamic", "-o"]).args([&program, &source]).args(flags).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut file = std::fs::read(&program).unwrap();
        let notes: Vec<_> = elf::segments(&file).unwrap().into_iter().filter(|s| s.kind == elf::PT_NOTE).collect();
        for note in notes {
            let range = note.offset as usize..(note.offset + note.size) as usize;
            let at = file[range.clone()].windows(4).position(|word| word == b"GNU\0").unwrap();
            file[range.start + at..range.start + at + 4].copy_from_slice(b"Go\0\0");
        }
        file
    }

    fn run(dir: &Path, program: &[u8]) -> (Option<i32>, Vec<u8>) {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("changed");
        std::fs::write(&path, program).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let done = Command::new(&path).env("HOME", "/").output().unwrap();
        (done.status.code(), done.stderr)
    }

    fn holds(program: &[u8], name: &str) -> bool {
        // The table of names for debuggers, which Debian's programs do not have, has it too.
        let tables = Tables::of(program).unwrap();
        program[tables.strings].windows(name.len()).any(|part| part == name.as_bytes())
    }

    #[test]
    fn a_program_runs_as_before_without_the_names_that_it_offered() {
        let dir = tempfile::tempdir().unwrap();
        let before = built(dir.path(), &["-pie", "-fPIC"]);
        let after = without_exports(&before).unwrap();
        assert_eq!(before.len(), after.len());
        assert!(holds(&before, "offered_to_plugins") && !holds(&after, "offered_to_plugins"));
        assert!(holds(&after, "fprintf") && holds(&after, "libc.so.6"));
        assert_eq!(run(dir.path(), &after), (Some(42), b"42 home\n".to_vec()));
        assert_eq!(without_exports(&after), None, "nothing is left to drop");
    }

    #[test]
    fn a_variable_that_a_library_looks_up_in_the_program_keeps_it_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(without_exports(&built(dir.path(), &["-no-pie", "-fno-pie"])), None);
    }

    #[test]
    fn programs_that_are_not_gos_are_left_alone() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(without_exports(&own), None);
        assert_eq!(without_exports(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn cut_and_flipped_files_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let file = built(dir.path(), &["-pie", "-fPIC"]);
        for length in (0..file.len()).step_by(7) {
            let _ = without_exports(&file[..length]);
        }
        let mut flipped = file.clone();
        for at in 0..file.len().min(16_384) {
            flipped[at] = !file[at];
            let _ = without_exports(&flipped);
            flipped[at] = file[at];
        }
    }
}
