//! What a block device stores its bytes in: the [`Disk`] trait, and [`RawDisk`], a raw (mostly sparse) image file. Called by
//! the device's worker thread alone.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use vm_memory::VolatileSlice;

use crate::slices::advance;
use crate::sys;

/// Discarding only gives back whole blocks of this many bytes.
pub(super) const DISCARD_BLOCK: u64 = 4096;
/// Zeroes that are written at once where no hole can be punched: this many parts of that many bytes.
const ZERO_PARTS: usize = 16;
const ZERO_PART: usize = 64 << 10;

/// Storage of a fixed size. Offsets and lengths are in bytes and lie within it: the caller has checked that.
pub(super) trait Disk: Send {
    /// Size in bytes when the disk was opened; never changes.
    fn size(&self) -> u64;
    /// Whether `discard` frees anything.
    fn can_discard(&self) -> bool;
    /// Fills all of `parts` from `offset` on, or fails.
    fn read(&mut self, offset: u64, parts: &[VolatileSlice]) -> io::Result<()>;
    /// Stores all of `parts` from `offset` on, or fails. Durable after the next `flush`.
    fn write(&mut self, offset: u64, parts: &[VolatileSlice]) -> io::Result<()>;
    /// Returns when everything written before is durable. After an error nobody knows what is: see [`super::serve`].
    fn flush(&mut self) -> io::Result<()>;
    /// The contents of the range are no longer needed.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes the range read as zeroes; may give its space back if `unmap`.
    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()>;
}

/// A raw image file.
pub(super) struct RawDisk {
    file: File,
    size: u64,
    regular: bool,
}

impl RawDisk {
    /// Takes an open file (or block special file) as it is.
    pub fn new(mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        // A block device's metadata knows no size.
        let size = if regular { metadata.len() } else { file.seek(SeekFrom::End(0))? };
        Ok(Self { file, size, regular })
    }

    fn write_plain_zeroes(&mut self, mut offset: u64, mut len: u64) -> io::Result<()> {
        let mut zeroes = vec![0; ZERO_PART];
        let zeroes = VolatileSlice::from(&mut zeroes[..]);
        while len > 0 {
            let mut parts = Vec::with_capacity(ZERO_PARTS);
            let mut now = 0;
            while parts.len() < ZERO_PARTS && now < len {
                let part = (len - now).min(ZERO_PART as u64);
                parts.push(zeroes.subslice(0, part as usize).expect("a part of the zeroes"));
                now += part;
            }
            self.write(offset, &parts)?;
            offset += now;
            len -= now;
        }
        Ok(())
    }
}

impl Disk for RawDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn can_discard(&self) -> bool {
        sys::HOLES.is_some()
    }

    fn read(&mut self, offset: u64, parts: &[VolatileSlice]) -> io::Result<()> {
        transfer(offset, parts, |parts, offset| sys::read_at(&self.file, parts, offset))
    }

    fn write(&mut self, offset: u64, parts: &[VolatileSlice]) -> io::Result<()> {
        transfer(offset, parts, |parts, offset| sys::write_at(&self.file, parts, offset))
    }

    fn flush(&mut self) -> io::Result<()> {
        // fdatasync on Linux, F_FULLFSYNC on macOS, FlushFileBuffers on Windows.
        self.file.sync_data()?;
        if self.regular && self.file.metadata()?.len() < self.size {
            return Err(io::Error::other("the disk image was cut short while in use"));
        }
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let first = offset.next_multiple_of(DISCARD_BLOCK);
        let end = (offset + len) / DISCARD_BLOCK * DISCARD_BLOCK;
        let Some(holes) = sys::HOLES.filter(|_| first < end) else { return Ok(()) };
        match (holes.punch)(&self.file, first, end - first) {
            // Only advice: a file system without holes keeps the blocks.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            outcome => outcome,
        }
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let zero = sys::HOLES.map(|holes| if unmap { holes.punch } else { holes.zero });
        match zero.map(|zero| zero(&self.file, offset, len)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::Unsupported => self.write_plain_zeroes(offset, len),
            None => self.write_plain_zeroes(offset, len),
            Some(outcome) => outcome,
        }
    }
}

/// Repeats `operation` until all of `parts` went through: calls may be interrupted or do less than they were asked.
fn transfer(
    mut offset: u64,
    parts: &[VolatileSlice],
    mut operation: impl FnMut(&[VolatileSlice], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut rest = parts.to_vec();
    while !rest.is_empty() {
        match operation(&rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                advance(&mut rest, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Runs a transfer of parts with these lengths against calls with these outcomes; what was asked at each call, as
    /// `(offset, lengths)`.
    fn script(lens: &[usize], outcomes: Vec<io::Result<usize>>) -> (io::Result<()>, Vec<(u64, Vec<usize>)>) {
        let mut memory = vec![0; lens.iter().sum()];
        let whole = VolatileSlice::from(&mut memory[..]);
        let mut at = 0;
        let parts: Vec<_> = lens.iter().map(|&len| (at += len, whole.subslice(at - len, len).unwrap()).1).collect();
        let (mut calls, mut outcomes) = (Vec::new(), outcomes.into_iter());
        let outcome = transfer(100, &parts, |parts, offset| {
            calls.push((offset, parts.iter().map(|part| part.len()).collect()));
            outcomes.next().expect("no further call")
        });
        (outcome, calls)
    }

    #[test]
    fn b3_a_file_system_without_holes_gets_zeroes_written() {
        const MIB: u64 = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        let mut expected: Vec<u8> = (0..4 * MIB).map(|at| (at % 251) as u8 + 1).collect();
        file.write_all(&expected).unwrap();
        let mut disk = RawDisk::new(file.try_clone().unwrap()).unwrap();
        for (offset, len) in [(0, 1), (511, 2), (5000, 3 * MIB + 77)] {
            disk.write_plain_zeroes(offset, len).unwrap();
            expected[offset as usize..][..len as usize].fill(0);
        }
        let mut found = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == expected);
    }

    #[test]
    fn b5_short_and_interrupted_calls_go_on_where_they_stopped() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let (outcome, calls) = script(&[10, 20, 30], vec![Ok(4), interrupted(), Ok(6), Ok(21), interrupted(), Ok(29)]);
        assert!(outcome.is_ok());
        let asked = [
            (100, vec![10, 20, 30]),
            (104, vec![6, 20, 30]),
            (104, vec![6, 20, 30]),
            (110, vec![20, 30]),
            (131, vec![29]),
            (131, vec![29]),
        ];
        assert_eq!(calls, asked);
    }

    #[test]
    fn b5_an_error_or_the_end_of_the_file_in_the_middle_fails_the_whole() {
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert_eq!(script(&[10, 20], vec![Ok(15), full()]).0.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(script(&[10, 20], vec![Ok(15), Ok(0)]).0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(script(&[], vec![]).0.is_ok());
    }
}
