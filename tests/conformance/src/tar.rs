//! Just enough of the ustar format: what cases upload, and what they read out of an archive. Times are fixed, so that what is
//! built from an archive does not depend on the day.

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;

/// An archive being written.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Adds a file.
    pub fn file(mut self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(&header(name, mode, data.len() as u64, b'0', ""));
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// Adds a folder.
    pub fn folder(mut self, name: &str, mode: u32) -> Self {
        self.bytes.extend_from_slice(&header(name, mode, 0, b'5', ""));
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, name: &str, target: &str) -> Self {
        self.bytes.extend_from_slice(&header(name, 0o777, 0, b'2', target));
        self
    }

    /// The entries so far, without an end.
    pub fn open(self) -> Vec<u8> {
        self.bytes
    }

    /// The archive with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// The header of an entry; also for archives that are too large to be held.
pub fn header(name: &str, mode: u32, size: u64, kind: u8, target: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{:011o}", 1_000_000_000));
    put(148, "        ");
    put(157, target);
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The bytes as gzip, stored and not compressed.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

/// An entry that was read.
#[derive(Debug)]
pub struct Entry {
    /// Its path.
    pub name: String,
    /// Type flag.
    pub kind: char,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub data: Vec<u8>,
}

/// Reads a whole archive. Extended headers are left out: nothing that cases make needs them.
pub fn entries(mut bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while bytes.len() >= BLOCK && bytes[..BLOCK].iter().any(|byte| *byte != 0) {
        let (block, rest) = bytes.split_at(BLOCK);
        let number = |at: usize, length: usize| -> Result<usize> {
            let text = String::from_utf8_lossy(&block[at..at + length]);
            let digits = text.trim_matches(|c: char| c == '\0' || c == ' ');
            usize::from_str_radix(digits, 8).with_context(|| format!("a tar number {digits:?}"))
        };
        let size = number(124, 12)?;
        ensure!(rest.len() >= size, "the archive is cut in an entry of {size} bytes");
        let name = String::from_utf8_lossy(&block[..100]).trim_end_matches('\0').to_owned();
        let (kind, mode) = (char::from(block[156]), number(100, 8)? as u32);
        if kind != 'x' && kind != 'g' {
            entries.push(Entry { name, kind, mode, data: rest[..size].to_vec() });
        }
        bytes = rest.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    Ok(entries)
}

/// An archive's entries as lines for the transcript, sorted.
pub fn listing(bytes: &[u8]) -> Result<Vec<String>> {
    let mut lines: Vec<String> = entries(bytes)?
        .iter()
        .map(|entry| format!("{} {:o} {} {}", entry.kind, entry.mode, entry.data.len(), entry.name))
        .collect();
    lines.sort();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::{Tar, crc32, listing};

    #[test]
    fn checksum_is_gzips_own() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = Tar::default().folder("d/", 0o755).file("d/f", 0o640, b"hello").link("l", "d/f").finish();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(listing(&bytes).expect("an archive"), ["0 640 5 d/f", "2 777 0 l", "5 755 0 d/"]);
        assert!(listing(&bytes[..1026]).is_err());
    }
}
