//! What is on the data disk: reads only. Called by `data_disk::prepare`.
//!
//! "Blank" has to be true of every byte. The host can say so from its file's extents; then reading both ends, the places of
//! backup superblocks and samples in between is a cross-check. Without that word the whole disk is read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::format::MARK;

/// Blocks in a block group of 4 KiB blocks (one bitmap block).
pub const GROUP_BLOCKS: u64 = 32768;
const CHUNK: usize = 1 << 20;
/// A cross-check reads this many places between the ends.
const SAMPLES: u64 = 64;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Size of the disk in bytes.
    pub size: u64,
    /// What it holds.
    pub content: Content,
    /// A format's mark is at its beginning.
    pub marked: bool,
}

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Every byte is zero.
    Blank,
    /// An earlier format of a blank disk did not come to its end.
    InterruptedFormat,
    /// An ext2, ext3 or ext4 superblock in its place.
    Ext(Superblock),
    /// No superblock in the first place, but a copy of one further on.
    ExtWithoutSuperblock(Superblock),
    /// A signature of something else.
    Foreign(&'static str),
    /// Bytes that nothing here knows; the offset of the first that is not zero.
    Unknown(u64),
}

/// The fields of an ext4 superblock that matter here (kernel's Documentation/filesystems/ext4/super.rst).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Volume label.
    pub label: String,
    /// Size in blocks.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// The kernel or e2fsck recorded errors.
    pub errors: bool,
}

impl Superblock {
    /// Parses the 1024 bytes of a superblock.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if u16_at(0x38)? != 0xef53 {
            return None;
        }
        let log_block_size = u32_at(0x18)?;
        // 1 KiB to 64 KiB; more is garbage that happens to hold the magic.
        if log_block_size > 6 {
            return None;
        }
        const INCOMPAT_64BIT: u32 = 0x80;
        let high = if u32_at(0x60)? & INCOMPAT_64BIT != 0 { u32_at(0x150)? } else { 0 };
        let label = bytes.get(0x78..0x88)?.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            label: String::from_utf8_lossy(label).into_owned(),
            blocks: u64::from(high) << 32 | u64::from(u32_at(4)?),
            block_size: 1024 << log_block_size,
            errors: u16_at(0x3a)? & 2 != 0,
        })
    }

    /// Size of the file system in bytes; saturates, because the fields are only what the disk says.
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }
}

/// Reads what is on `disk`. `known_blank` is the host's word that it holds no data.
pub fn probe(disk: &mut File, known_blank: bool) -> io::Result<Facts> {
    let size = disk.seek(SeekFrom::End(0))?;
    let head = read_at(disk, 0, size, CHUNK)?;
    Ok(Facts { size, content: content(disk, size, &head, known_blank)?, marked: head.starts_with(MARK) })
}

/// Size and superblock of a disk that is in use.
pub fn superblock_of(disk: &mut File) -> io::Result<Option<(u64, Superblock)>> {
    let size = disk.seek(SeekFrom::End(0))?;
    let head = read_at(disk, 0, size, 2048)?;
    Ok(head.get(1024..).and_then(Superblock::parse).map(|superblock| (size, superblock)))
}

fn content(disk: &mut File, size: u64, head: &[u8], known_blank: bool) -> io::Result<Content> {
    if let Some(superblock) = head.get(1024..2048).and_then(Superblock::parse) {
        return Ok(Content::Ext(superblock));
    }
    if head.starts_with(MARK) {
        return Ok(Content::InterruptedFormat);
    }
    let tail_at = size.saturating_sub(CHUNK as u64);
    let tail = read_at(disk, tail_at, size, CHUNK)?;
    if let Some(name) = signature(head, &tail) {
        return Ok(Content::Foreign(name));
    }
    if let Some(superblock) = backup(disk, size)? {
        return Ok(Content::ExtWithoutSuperblock(superblock));
    }
    let first = match first_byte(head, 0).or_else(|| first_byte(&tail, tail_at)) {
        Some(at) => Some(at),
        None if known_blank => sampled(disk, size)?,
        None => scanned(disk, 0)?,
    };
    Ok(first.map_or(Content::Blank, Content::Unknown))
}

/// The copy of a superblock where block group 1 begins, for blocks of 1, 2 and 4 KiB.
fn backup(disk: &File, size: u64) -> io::Result<Option<Superblock>> {
    for (block_size, block) in [(1024, 8193), (2048, 16384), (4096, GROUP_BLOCKS)] {
        let bytes = read_at(disk, block * block_size, size, 1024)?;
        if let Some(superblock) = Superblock::parse(&bytes).filter(|found| found.block_size == block_size) {
            return Ok(Some(superblock));
        }
    }
    Ok(None)
}

/// Names for what people put on disks; the list only makes a message better, it never decides that a disk is blank.
fn signature(head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let known: [(usize, &[u8], &str); 13] = [
        (512, b"EFI PART", "a GPT partition table"),
        (4096, b"EFI PART", "a GPT partition table"),
        (0, b"LUKS\xba\xbe", "a LUKS volume"),
        (16384, b"SKUL\xba\xbe", "a LUKS volume"),
        (4086, b"SWAPSPACE2", "swap space"),
        (4086, b"SWAP-SPACE", "swap space"),
        (0, b"XFSB", "an XFS file system"),
        (0x10040, b"_BHRfS_M", "a btrfs file system"),
        (1024, b"\xe2\xe1\xf5\xe0", "an EROFS image"),
        (0, b"hsqs", "a squashfs image"),
        (536, b"LVM2 001", "an LVM volume"),
        (3, b"NTFS    ", "an NTFS file system"),
        (0x8001, b"CD001", "an ISO 9660 image"),
    ];
    let found = known.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    let name = found.map(|(_, _, name)| *name);
    let backup_gpt = tail.len() >= 512 && tail[tail.len() - 512..].starts_with(b"EFI PART");
    let boot_sector = head.get(510..512) == Some(&[0x55, 0xaa]);
    name.or(backup_gpt.then_some("a GPT partition table")).or(boot_sector.then_some("a boot sector or partition table"))
}

/// The first byte that is not zero in some places between the ends.
fn sampled(disk: &File, size: u64) -> io::Result<Option<u64>> {
    for sample in 0..SAMPLES {
        let at = size / SAMPLES * sample / 4096 * 4096;
        if let Some(at) = first_byte(&read_at(disk, at, size, 4096)?, at) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The first byte that is not zero from `at` to the end of the disk.
pub(super) fn scanned(disk: &mut File, mut at: u64) -> io::Result<Option<u64>> {
    disk.seek(SeekFrom::Start(at))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match disk.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if let Some(at) = first_byte(&chunk[..count], at) {
            return Ok(Some(at));
        }
        // Gigabytes of zeros must not push what the boot needs out of memory.
        let _only_a_hint =
            rustix::fs::fadvise(&*disk, at, std::num::NonZero::new(count as u64), rustix::fs::Advice::DontNeed);
        at += count as u64;
    }
}

fn first_byte(bytes: &[u8], offset: u64) -> Option<u64> {
    // In words first: the usual answer is "none", for every chunk of the disk.
    let (words, rest) = bytes.as_chunks::<16>();
    let in_words = words.iter().position(|word| u128::from_ne_bytes(*word) != 0).map(|index| index * 16);
    let start = in_words.unwrap_or(bytes.len() - rest.len());
    let at = bytes[start..].iter().position(|byte| *byte != 0)?;
    Some(offset + (start + at) as u64)
}

/// Up to `length` bytes at `at`, fewer at the end of the disk.
fn read_at(disk: &File, at: u64, size: u64, length: usize) -> io::Result<Vec<u8>> {
    let there = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(there)];
    disk.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
