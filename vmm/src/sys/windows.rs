//! Positioned I/O between a file and guest memory, through a buffer: Windows scatters only whole pages, unbuffered.

use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;

use vm_memory::VolatileSlice;

/// Bytes moved by one call, at most.
const BUFFER: usize = 256 << 10;

/// Reads into `parts`, in order, what the file holds from `offset` on. May read less, 0 at the end of the file.
pub(crate) fn read_at(file: &File, parts: &[VolatileSlice], offset: u64) -> io::Result<usize> {
    let mut buffer = vec![0; total(parts).min(BUFFER)];
    let count = match file.seek_read(&mut buffer, offset) {
        // ERROR_HANDLE_EOF: how ReadFile with a position says that it is past the end.
        Err(error) if error.raw_os_error() == Some(38) => 0,
        other => other?,
    };
    let mut rest = &buffer[..count];
    for part in parts {
        let (now, later) = rest.split_at(rest.len().min(part.len()));
        part.copy_from(now);
        rest = later;
    }
    Ok(count)
}

/// Writes `parts`, in order, to the file from `offset` on. May write less.
pub(crate) fn write_at(file: &File, parts: &[VolatileSlice], offset: u64) -> io::Result<usize> {
    let mut buffer = vec![0; total(parts).min(BUFFER)];
    let mut filled = 0;
    for part in parts {
        filled += part.copy_to(&mut buffer[filled..]);
    }
    file.seek_write(&buffer[..filled], offset)
}

fn total(parts: &[VolatileSlice]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}
