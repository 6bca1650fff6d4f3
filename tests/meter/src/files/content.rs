//! Work on the content of files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{BIG, PLACES, STREAM};

/// What is read or written at a place.
const PAGE: u64 = 4096;
/// What is streamed at once.
const BLOCK: usize = 1 << 20;

/// The same places each time, in an order that no read-ahead guesses.
fn places() -> impl Iterator<Item = u64> {
    let step =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(1), step).map(|state| (state >> 33) % (BIG / PAGE) * PAGE).take(PLACES)
}

pub fn read_places(folder: &Path) -> io::Result<()> {
    let file = File::open(folder.join("big"))?;
    let mut page = [0; PAGE as usize];
    places().try_for_each(|at| file.read_exact_at(&mut page, at))
}

pub fn write_places(folder: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(folder.join("big"))?;
    places().try_for_each(|at| file.write_all_at(&[at as u8; PAGE as usize], at))
}

/// A new file; the disk is waited for by [`sync_stream`].
pub fn write_stream(folder: &Path) -> io::Result<()> {
    let mut file = File::create(folder.join("stream"))?;
    let block = vec![b's'; BLOCK];
    (0..STREAM / BLOCK as u64).try_for_each(|_| file.write_all(&block))
}

pub fn sync_stream(folder: &Path) -> io::Result<()> {
    File::open(folder.join("stream"))?.sync_all()
}

pub fn read_stream(folder: &Path) -> io::Result<()> {
    let mut file = File::open(folder.join("stream"))?;
    let (mut block, mut seen) = (vec![0; BLOCK], 0);
    loop {
        match file.read(&mut block)? {
            0 if seen == STREAM => return Ok(()),
            0 => return Err(io::Error::other(format!("{seen} bytes instead of {STREAM}"))),
            count => seen += count as u64,
        }
    }
}
