//! Makes the data disk's file system. mke2fs writes to a sparse file in memory; what it wrote is then copied to the disk,
//! superblock last. A power cut in between leaves [`MARK`] in the place of the superblock, so that the next boot knows that
//! the disk was blank and may begin again. Called by `data_disk::prepare`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use lighter_protocol::paths::DATA_LABEL;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::{DataDiskError, probe};
use crate::paths;
use crate::reaper::{Exit, Reaper};

/// At the start of a disk that is being formatted; ext4 leaves the first 1024 bytes to boot loaders.
pub const MARK: &[u8; 32] = b"lighter is formatting this disk\n";
/// The superblock is in here; written last.
const FIRST_BLOCK: u64 = 4096;
const FEATURES: &str = "extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize,dir_index,sparse_super,large_file,\
     filetype,resize_inode,has_journal,ext_attr,orphan_file";
/// What a program may say before it is cut off.
const OUTPUT_LIMIT: u64 = 4096;

/// Formats `disk` of `size` bytes, which holds nothing. `staging` is a folder in memory that can hold sparse files.
pub fn format(reaper: &Reaper, disk: &File, size: u64, staging: &Path) -> Result<(), DataDiskError> {
    let image = staging.join("data.img");
    let result = format_through(reaper, disk, size, &image);
    let _was_never_made = fs::remove_file(&image);
    result
}

fn format_through(reaper: &Reaper, disk: &File, size: u64, image: &Path) -> Result<(), DataDiskError> {
    let file = File::create_new(image).map_err(DataDiskError::io("making room for its file system in memory"))?;
    file.set_len(size).map_err(DataDiskError::io("making room for its file system in memory"))?;
    let (exit, output) = run(reaper, &mut mke2fs(image)).map_err(DataDiskError::io("starting mke2fs"))?;
    if !exit.success() {
        return Err(DataDiskError::Format { exit, output });
    }
    let image = File::open(image).map_err(DataDiskError::io("reading its new file system"))?;
    copy_out(&image, disk).map_err(DataDiskError::io("writing its new file system"))
}

fn mke2fs(image: &Path) -> Command {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", DATA_LABEL, "-b", "4096", "-I", "256", "-m", "0"]);
    // Named here, so that no /etc/mke2fs.conf is needed. A 64 MiB journal is enough for any disk that a desktop has.
    command.args(["-O", FEATURES, "-J", "size=64"]);
    // The disk is zeros already: inode tables and journal need no writing, now or later.
    command.args(["-E", "assume_storage_prezeroed=1,nodiscard"]).arg(image);
    command
}

/// Removes the mark from a disk that has its file system.
pub fn unmark(disk: &File) -> Result<(), DataDiskError> {
    let removed = disk.write_all_at(&[0; MARK.len()], 0).and_then(|()| disk.sync_all());
    removed.map_err(DataDiskError::io("removing the mark of an old format"))
}

/// Zeroes what an interrupted format has left behind; its mark stays. The disk's own way takes no time however large it is;
/// where there is none, all of it is read.
pub fn clear(disk: &mut File, size: u64) -> Result<(), DataDiskError> {
    let end = size / FIRST_BLOCK * FIRST_BLOCK;
    let way = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(&*disk, way, FIRST_BLOCK, end.saturating_sub(FIRST_BLOCK)) {
        Ok(()) => clear_from(disk, end, size),
        Err(errno) => {
            tracing::info!(%errno, "the disk cannot zero itself, looking for what an interrupted format left");
            clear_from(disk, FIRST_BLOCK, size)
        }
    }
}

fn clear_from(disk: &mut File, from: u64, size: u64) -> Result<(), DataDiskError> {
    let mut clean_to = from;
    while let Some(at) = probe::scanned(disk, clean_to).map_err(DataDiskError::io("reading it"))? {
        clean_to = at / FIRST_BLOCK * FIRST_BLOCK;
        // A disk need not end with a whole block, and must not grow.
        let length = (size - clean_to).min(FIRST_BLOCK) as usize;
        disk.write_all_at(&[0; FIRST_BLOCK as usize][..length], clean_to)
            .map_err(DataDiskError::io("clearing what an interrupted format left"))?;
    }
    Ok(())
}

/// Everything but the first block, then the first block, with a flush between each step.
fn copy_out(image: &File, disk: &File) -> io::Result<()> {
    disk.write_all_at(MARK, 0)?;
    disk.sync_all()?;
    let mut at = FIRST_BLOCK;
    while let Some(start) = next_data(image, at)? {
        let end = seek(image, SeekFrom::Hole(start))?;
        copy_range(image, disk, start.max(at), end)?;
        at = end;
    }
    disk.sync_all()?;
    copy_range(image, disk, 0, FIRST_BLOCK)?;
    disk.sync_all()
}

fn next_data(image: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(image, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Copies block by block and leaves out blocks of zeros, which the disk has already.
fn copy_range(image: &File, disk: &File, start: u64, end: u64) -> io::Result<()> {
    let mut block = [0; FIRST_BLOCK as usize];
    let mut at = start;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(block.len());
        let bytes = &mut block[..length];
        image.read_exact_at(bytes, at)?;
        if at == 0 || bytes.iter().any(|byte| *byte != 0) {
            disk.write_all_at(bytes, at)?;
        }
        at += length as u64;
    }
    Ok(())
}

/// Runs a program of e2fsprogs to its end; how it ended and what it said.
pub(super) fn run(reaper: &Reaper, command: &mut Command) -> io::Result<(Exit, String)> {
    command.env("PATH", paths::PROGRAMS).stdin(Stdio::null());
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let (_, running) = reaper.spawn(command)?;
    // The command holds the writing ends: they must go, or the reading never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut output = Vec::new();
    let mut limited = reader.take(OUTPUT_LIMIT);
    limited.read_to_end(&mut output)?;
    io::copy(limited.get_mut(), &mut io::sink())?;
    let text = String::from_utf8_lossy(&output).trim().replace('\n', "; ");
    Ok((running.wait(), text))
}
