//! Length: what is cut off is gone, what is added is zeroes, and holes are where nothing was written.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, fstat, ftruncate, seek, stat};
use rustix::io::{Errno, pread, pwrite};

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{file, folder, made, opened, put, text};
use crate::sys::odd;

cases!("length":
    shorter_cuts_off,
    longer_adds_zeroes,
    cut_off_and_longer_again_is_zeroes,
    by_descriptor_opened_for_writing_only,
    of_folders_and_of_nothing_is_refused,
    below_zero_is_refused,
    beyond_the_largest_is_refused,
    files_beyond_four_gigabytes,
    writing_behind_the_end_leaves_a_hole,
    holes_and_data_are_found,
    looking_for_data_behind_the_end_is_refused,
    fallocate_makes_longer_unless_told,
    fallocate_refuses_what_is_no_range,
    punching_makes_zeroes_and_frees,
    punching_without_keeping_the_size_is_refused,
    zeroing_a_range,
    positions_are_set_and_refused,
);

const KEEP: FallocateFlags = FallocateFlags::KEEP_SIZE;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE;

fn content(file: &OwnedFd) -> Result<Vec<u8>, Wrong> {
    let mut all = vec![0xee; usize::try_from(fstat(file)?.st_size)? + 1];
    let len = pread(file, &mut all[..], 0)?;
    all.truncate(len);
    Ok(all)
}

fn shorter_cuts_off() -> Held {
    put("f", "content")?;
    odd::truncate("f", 4)?;
    equal(text("f")?.as_str(), "cont")?;
    odd::truncate("f", 0)?;
    equal(stat("f")?.st_size, 0)
}

fn longer_adds_zeroes() -> Held {
    put("f", "ab")?;
    odd::truncate("f", 5)?;
    equal(text("f")?.as_str(), "ab\0\0\0")
}

fn cut_off_and_longer_again_is_zeroes() -> Held {
    let made = made("f")?;
    for (long, short) in [(10_000, 5000), (4096, 1), (100, 99), (8192, 4096)] {
        pwrite(&made, &vec![0xff; long], 0)?;
        ftruncate(&made, short as u64)?;
        ftruncate(&made, long as u64)?;
        let content = content(&made)?;
        equal(content.len(), long)?;
        holds(content[..short].iter().all(|byte| *byte == 0xff), "what was kept is kept")?;
        holds(content[short..].iter().all(|byte| *byte == 0), "what was cut off is zeroes")?;
        ftruncate(&made, 0)?;
    }
    Ok(())
}

fn by_descriptor_opened_for_writing_only() -> Held {
    put("f", "content")?;
    fails(Errno::INVAL, ftruncate(opened("f", OFlags::RDONLY)?, 1))?;
    fails(Errno::BADF, ftruncate(opened("f", OFlags::PATH)?, 1))?;
    ftruncate(opened("f", OFlags::WRONLY)?, 2)?;
    equal(text("f")?.as_str(), "co")
}

fn of_folders_and_of_nothing_is_refused() -> Held {
    folder("d")?;
    file("f")?;
    fails(Errno::ISDIR, odd::truncate("d", 0))?;
    fails(Errno::NOENT, odd::truncate("nothing", 0))?;
    fails(Errno::NOTDIR, odd::truncate("f/x", 0))
}

fn below_zero_is_refused() -> Held {
    let made = made("f")?;
    fails(Errno::INVAL, odd::truncate("f", -1))?;
    fails(Errno::INVAL, odd::ftruncate(&made, -1))
}

fn beyond_the_largest_is_refused() -> Held {
    let made = made("f")?;
    fails(Errno::FBIG, odd::ftruncate(&made, i64::MAX))?;
    equal(fstat(&made)?.st_size, 0)
}

fn files_beyond_four_gigabytes() -> Held {
    let made = made("f")?;
    let far = (5_u64 << 30) + 3;
    pwrite(&made, b"far", far)?;
    equal(fstat(&made)?.st_size.cast_unsigned(), far + 3)?;
    let mut got = [0xee; 5];
    equal(pread(&made, &mut got, far - 2)?, 5)?;
    equal(&got, b"\0\0far")?;
    holds(fstat(&made)?.st_blocks < 1000, "few blocks are used")
}

fn writing_behind_the_end_leaves_a_hole() -> Held {
    let made = made("f")?;
    pwrite(&made, b"end", 1 << 20)?;
    let content = content(&made)?;
    holds(content[..1 << 20].iter().all(|byte| *byte == 0), "the hole is zeroes")?;
    equal(&content[1 << 20..], b"end")
}

fn holes_and_data_are_found() -> Held {
    let made = made("f")?;
    pwrite(&made, &[1; 4096], 1 << 20)?;
    ftruncate(&made, 3 << 20)?;
    equal(seek(&made, SeekFrom::Data(0))?, 1 << 20)?;
    equal(seek(&made, SeekFrom::Hole(0))?, 0)?;
    equal(seek(&made, SeekFrom::Hole(1 << 20))?, (1 << 20) + 4096)?;
    equal(seek(&made, SeekFrom::Data((1 << 20) + 7))?, (1 << 20) + 7)?;
    fails(Errno::NXIO, seek(&made, SeekFrom::Data(2 << 20)))?;
    equal(seek(&made, SeekFrom::Hole(2 << 20))?, 2 << 20)
}

fn looking_for_data_behind_the_end_is_refused() -> Held {
    let made = made("f")?;
    pwrite(&made, b"abc", 0)?;
    equal(seek(&made, SeekFrom::Hole(0))?, 3)?;
    for at in [3, 4, 1 << 40] {
        fails(Errno::NXIO, seek(&made, SeekFrom::Data(at)))?;
        fails(Errno::NXIO, seek(&made, SeekFrom::Hole(at)))?;
    }
    Ok(())
}

fn fallocate_makes_longer_unless_told() -> Held {
    let made = made("f")?;
    pwrite(&made, b"abc", 0)?;
    fallocate(&made, KEEP, 0, 1 << 16)?;
    equal(fstat(&made)?.st_size, 3)?;
    holds(fstat(&made)?.st_blocks >= 1 << 7, "blocks are taken")?;
    fallocate(&made, FallocateFlags::empty(), 5, 5)?;
    equal(content(&made)?, b"abc\0\0\0\0\0\0\0".to_vec())?;
    fallocate(&made, FallocateFlags::empty(), 0, 2)?;
    equal(fstat(&made)?.st_size, 10)
}

fn fallocate_refuses_what_is_no_range() -> Held {
    let made = made("f")?;
    fails(Errno::INVAL, odd::fallocate(&made, 0, 0, 0))?;
    fails(Errno::INVAL, odd::fallocate(&made, 0, -1, 5))?;
    fails(Errno::INVAL, odd::fallocate(&made, 0, 0, -5))?;
    fails(Errno::BADF, fallocate(opened("f", OFlags::RDONLY)?, FallocateFlags::empty(), 0, 5))?;
    fails(Errno::FBIG, odd::fallocate(&made, 0, i64::MAX - 4, 5000))
}

fn punching_makes_zeroes_and_frees() -> Held {
    let made = made("f")?;
    pwrite(&made, &vec![1; 1 << 18], 0)?;
    rustix::fs::fsync(&made)?;
    let before = fstat(&made)?.st_blocks;
    fallocate(&made, PUNCH | KEEP, 4096, (1 << 17) + 5)?;
    let content = content(&made)?;
    let end = 4096 + (1 << 17) + 5;
    equal(content.len(), 1 << 18)?;
    holds(content[4096..end].iter().all(|byte| *byte == 0), "the hole is zeroes")?;
    holds(content[..4096].iter().chain(&content[end..]).all(|byte| *byte == 1), "the rest stays")?;
    holds(fstat(&made)?.st_blocks < before, "blocks are free again")?;
    fallocate(&made, PUNCH | KEEP, 1 << 17, 1 << 30)?;
    equal(fstat(&made)?.st_size, 1 << 18)
}

fn punching_without_keeping_the_size_is_refused() -> Held {
    let made = made("f")?;
    pwrite(&made, b"abc", 0)?;
    fails(Errno::OPNOTSUPP, fallocate(&made, PUNCH, 0, 2))?;
    equal(content(&made)?, b"abc".to_vec())
}

fn zeroing_a_range() -> Held {
    let made = made("f")?;
    pwrite(&made, &[1; 10], 0)?;
    fallocate(&made, FallocateFlags::ZERO_RANGE, 2, 3)?;
    equal(content(&made)?, vec![1, 1, 0, 0, 0, 1, 1, 1, 1, 1])?;
    fallocate(&made, FallocateFlags::ZERO_RANGE | KEEP, 8, 9)?;
    equal(content(&made)?, vec![1, 1, 0, 0, 0, 1, 1, 1, 0, 0])?;
    fallocate(&made, FallocateFlags::ZERO_RANGE, 8, 4)?;
    equal(fstat(&made)?.st_size, 12)
}

fn positions_are_set_and_refused() -> Held {
    put("f", "content")?;
    let file = opened("f", OFlags::RDWR)?;
    equal(seek(&file, SeekFrom::Start(3))?, 3)?;
    equal(seek(&file, SeekFrom::Current(2))?, 5)?;
    equal(seek(&file, SeekFrom::End(-1))?, 6)?;
    let mut last = [0; 4];
    equal(rustix::io::read(&file, &mut last)?, 1)?;
    equal(seek(&file, SeekFrom::End(100))?, 107)?;
    equal(rustix::io::read(&file, &mut last)?, 0)?;
    fails(Errno::INVAL, seek(&file, SeekFrom::Current(-108)))?;
    fails(Errno::INVAL, seek(&file, SeekFrom::End(-8)))
}
