//! Puts an ELF `vmlinux` into guest memory. The headers are checked here, before the loader crate sees them, so that no
//! segment can land on the boot structures, on another segment or outside RAM. Called by `prepare`.

use std::io::Cursor;
use std::ops::Range;

use linux_loader::loader::{Elf, KernelLoader};

use super::layout;
use crate::arch::BootError;
use crate::memory::GuestMemory;

const EHDR_SIZE: usize = 64;
const PHDR_SIZE: usize = 56;
/// A Linux kernel has about five; more is not a kernel.
const MAX_PHDRS: u16 = 64;
const PT_LOAD: u32 = 1;
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;

/// A loaded kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Guest address of its first instruction.
    pub entry: u64,
    /// First guest address behind it, its zeroed part included.
    pub end: u64,
}

/// Loads `image`, which must lie between 1 MiB and `ram_end` (end of the RAM below the gap).
pub fn load(memory: &GuestMemory, image: &[u8], ram_end: u64) -> Result<Kernel, BootError> {
    let kernel = check(image, ram_end)?;
    Elf::load(&**memory, None, &mut Cursor::new(image), None)
        .map_err(|_| BootError::Kernel("its segments cannot be read"))?;
    Ok(kernel)
}

/// Field of `N` bytes at `at`, little-endian, which the caller has made sure is there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn check(image: &[u8], ram_end: u64) -> Result<Kernel, BootError> {
    let bad = BootError::Kernel;
    let truncated = || bad("the file is truncated");
    if image.get(..4) != Some(b"\x7fELF") {
        return Err(bad("it is not an ELF file (an uncompressed vmlinux is needed)"));
    }
    let header = image.get(..EHDR_SIZE).ok_or_else(truncated)?;
    let half = |at| field(header, at).map(u16::from_le_bytes).ok_or_else(truncated);
    let long = |at| field(header, at).map(u64::from_le_bytes).ok_or_else(truncated);
    // 64-bit, little-endian.
    if header[4..6] != [2, 1] || half(16)? != ET_EXEC || half(18)? != EM_X86_64 {
        return Err(bad("it is not a 64-bit x86 executable"));
    }
    let (entry, table, count) = (long(24)?, long(32)?, half(56)?);
    if usize::from(half(54)?) != PHDR_SIZE || count == 0 || count > MAX_PHDRS || table < EHDR_SIZE as u64 {
        return Err(bad("its program headers are malformed"));
    }
    let start = usize::try_from(table).map_err(|_| truncated())?;
    let end = start.checked_add(usize::from(count) * PHDR_SIZE).ok_or_else(truncated)?;
    let headers = image.get(start..end).ok_or_else(truncated)?;
    let mut placed: Vec<Range<u64>> = Vec::new();
    for header in headers.chunks_exact(PHDR_SIZE) {
        let Some(range) = segment(header, image.len() as u64, ram_end)? else { continue };
        if placed.iter().any(|other| range.start < other.end && other.start < range.end) {
            return Err(bad("its segments overlap"));
        }
        placed.push(range);
    }
    if !placed.iter().any(|range| range.contains(&entry)) {
        return Err(bad("its entry is not inside a segment"));
    }
    if entry >= layout::BOOT_MAP_END {
        return Err(bad("its entry lies beyond the first GiB"));
    }
    let end = placed.iter().map(|range| range.end).max().unwrap_or(entry);
    Ok(Kernel { entry, end })
}

/// The guest range of one loadable segment.
fn segment(header: &[u8], image_len: u64, ram_end: u64) -> Result<Option<Range<u64>>, BootError> {
    let bad = BootError::Kernel;
    let long = |at| field(header, at).map(u64::from_le_bytes).ok_or(bad("the file is truncated"));
    let kind = field(header, 0).map(u32::from_le_bytes).ok_or(bad("the file is truncated"))?;
    if kind != PT_LOAD {
        return Ok(None);
    }
    let (offset, address, in_file, in_memory) = (long(8)?, long(24)?, long(32)?, long(40)?);
    if offset.checked_add(in_file).is_none_or(|end| end > image_len) {
        return Err(bad("the file is truncated"));
    }
    if in_memory == 0 {
        return Ok(None);
    }
    if in_file > in_memory {
        return Err(bad("a segment is larger in the file than in memory"));
    }
    let end = address.checked_add(in_memory).ok_or(bad("a segment lies outside the guest's memory"))?;
    if address < layout::HIGH_MEMORY {
        return Err(bad("a segment would overwrite the boot structures below 1 MiB"));
    }
    if end > ram_end {
        return Err(bad("a segment lies outside the guest's memory"));
    }
    Ok(Some(address..end))
}

#[cfg(test)]
pub(super) mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const RAM: u64 = 8 << 20;

    /// An ELF with the given `(physical address, bytes in memory, contents)` segments.
    pub fn elf(entry: u64, segments: &[(u64, u64, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; EHDR_SIZE];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[16..20].copy_from_slice(&[2, 0, 62, 0]);
        image[24..32].copy_from_slice(&entry.to_le_bytes());
        image[32..40].copy_from_slice(&(EHDR_SIZE as u64).to_le_bytes());
        image[54..56].copy_from_slice(&(PHDR_SIZE as u16).to_le_bytes());
        image[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        let mut offset = (EHDR_SIZE + segments.len() * PHDR_SIZE) as u64;
        for (address, in_memory, contents) in segments {
            let fields = [offset, *address, *address, contents.len() as u64, *in_memory, 0x1000];
            image.extend([1, 0, 0, 0, 7, 0, 0, 0]);
            image.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
            offset += contents.len() as u64;
        }
        segments.iter().for_each(|segment| image.extend(segment.2));
        image
    }

    fn refused(image: &[u8]) -> String {
        let memory = crate::memory::anonymous(&[(0, RAM)]).expect("8 MiB");
        load(&memory, image, RAM).expect_err("a broken kernel").to_string()
    }

    #[test]
    fn a_kernel_is_loaded_where_it_says() {
        let memory = crate::memory::anonymous(&[(0, RAM)]).expect("8 MiB");
        let image = elf(0x10_0004, &[(0x10_0000, 0x1000, b"code"), (0x20_0000, 0x2000, b"data")]);
        assert_eq!(load(&memory, &image, RAM), Ok(Kernel { entry: 0x10_0004, end: 0x20_2000 }));
        let mut data = [0; 4];
        memory.read_slice(&mut data, GuestAddress(0x20_0000)).expect("in RAM");
        assert_eq!(&data, b"data");
    }

    #[test]
    fn m8_what_is_no_kernel_is_refused() {
        for image in [&b""[..], b"\x7f", b"MZ not a kernel at all", &[0; 4096]] {
            assert!(refused(image).contains("not an ELF file"), "{}", refused(image));
        }
    }

    #[test]
    fn m8_a_kernel_cut_at_any_byte_is_refused() {
        let image = elf(0x10_0000, &[(0x10_0000, 0x1000, b"some code here")]);
        for len in 4..image.len() {
            assert!(refused(&image[..len]).contains("truncated"), "{len}: {}", refused(&image[..len]));
        }
    }

    #[test]
    fn m8_header_lies_are_refused() {
        let good = elf(0x10_0000, &[(0x10_0000, 0x1000, b"code")]);
        let with = |at: usize, bytes: &[u8]| {
            let mut image = good.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            refused(&image)
        };
        assert!(with(4, &[1]).contains("64-bit"));
        assert!(with(18, &[183, 0]).contains("64-bit"));
        assert!(with(32, &u64::MAX.to_le_bytes()).contains("truncated"));
        assert!(with(32, &(u64::MAX - 55).to_le_bytes()).contains("truncated"));
        assert!(with(32, &[0; 8]).contains("malformed"));
        assert!(with(56, &[0xff, 0xff]).contains("malformed"));
        assert!(with(56, &[0, 0]).contains("malformed"));
        assert!(with(24, &u64::MAX.to_le_bytes()).contains("entry"));
    }

    #[test]
    fn m8_segments_outside_their_place_are_refused() {
        let one = |address, in_memory| refused(&elf(address, &[(address, in_memory, b"code")]));
        assert!(one(0, 0x1000).contains("boot structures"));
        assert!(one(layout::ZERO_PAGE, 0x1000).contains("boot structures"));
        assert!(one(layout::HIGH_MEMORY - 1, 0x1000).contains("boot structures"));
        assert!(one(RAM - 0x800, 0x1000).contains("outside"));
        assert!(one(u64::MAX - 2, 0x1000).contains("outside"));
        assert!(one(0x10_0000, u64::MAX).contains("outside"));
        assert!(one(0x10_0000, 1).contains("larger in the file"));
        let high = elf(layout::BOOT_MAP_END, &[(layout::BOOT_MAP_END, 0x1000, b"code")]);
        assert_eq!(check(&high, 2 << 30), Err(BootError::Kernel("its entry lies beyond the first GiB")));
        let overlap = elf(0x10_0000, &[(0x10_0000, 0x1001, b"a"), (0x10_1000, 0x1000, b"b")]);
        assert!(refused(&overlap).contains("overlap"));
    }
}
