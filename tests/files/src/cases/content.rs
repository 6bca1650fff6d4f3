//! Content: whatever way it is written, it is the same whatever way it is read, and by whom.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, copy_file_range, fdatasync, fstat, fsync, ftruncate, open};
use rustix::io::{Errno, IoSlice, IoSliceMut, pread, preadv, pwrite, pwritev, read, write};

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{bits, made, opened, put, text};
use crate::sys::child::{apart, spawn};
use crate::sys::mapping::Mapping;

cases!("content":
    positions_move_with_what_is_read_and_written,
    at_a_position_leaves_the_position,
    behind_the_end_is_nothing,
    in_pieces,
    large_ones_at_crooked_positions,
    one_descriptor_sees_what_another_wrote,
    one_process_sees_what_another_wrote,
    appending_ignores_positions,
    appending_processes_lose_nothing,
    copied_within_the_kernel,
    copied_within_one_file,
    copying_over_itself_is_refused,
    directly_without_the_cache,
    a_mapping_shows_what_was_written,
    a_mapping_writes_the_file,
    a_private_mapping_leaves_the_file,
    a_mapping_behind_the_end_is_a_bus_error,
    a_mapping_outlives_its_descriptor_and_name,
    descriptors_for_the_other_direction_refuse,
    synced_by_every_call,
);

/// Bytes that repeat at no power of two.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + seed) % 251) as u8).collect()
}

fn all(file: &OwnedFd, len: usize) -> Result<Vec<u8>, Wrong> {
    let (mut content, mut at) = (vec![0xee; len], 0);
    while at < len {
        match pread(file, &mut content[at..], at as u64)? {
            0 => break,
            more => at += more,
        }
    }
    content.truncate(at);
    Ok(content)
}

fn write_all(file: &OwnedFd, content: &[u8], at: u64) -> Held {
    let mut done = 0;
    while done < content.len() {
        done += pwrite(file, &content[done..], at + done as u64)?;
    }
    Ok(())
}

fn positions_move_with_what_is_read_and_written() -> Held {
    let made = made("f")?;
    write(&made, b"abc")?;
    write(&made, b"def")?;
    rustix::fs::seek(&made, rustix::fs::SeekFrom::Start(2))?;
    let mut two = [0; 2];
    read(&made, &mut two)?;
    equal(&two, b"cd")?;
    write(&made, b"X")?;
    equal(text("f")?.as_str(), "abcdXf")
}

fn at_a_position_leaves_the_position() -> Held {
    let made = made("f")?;
    write(&made, b"abc")?;
    pwrite(&made, b"Z", 0)?;
    pread(&made, &mut [0; 2], 1)?;
    write(&made, b"d")?;
    equal(text("f")?.as_str(), "Zbcd")
}

fn behind_the_end_is_nothing() -> Held {
    put("f", "abc")?;
    let file = opened("f", OFlags::RDONLY)?;
    equal(pread(&file, &mut [0; 9], 1)?, 2)?;
    equal(pread(&file, &mut [0; 9], 3)?, 0)?;
    equal(pread(&file, &mut [0; 9], 1 << 40)?, 0)
}

fn in_pieces() -> Held {
    let made = made("f")?;
    equal(pwritev(&made, &[IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"three")], 1)?, 8)?;
    let (mut a, mut b) = ([0xee; 2], [0xee; 20]);
    equal(preadv(&made, &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)], 0)?, 9)?;
    equal(&a, b"\0o")?;
    equal(&b[..7], b"nethree")
}

fn large_ones_at_crooked_positions() -> Held {
    let made = made("f")?;
    let mut wanted = Vec::new();
    for (seed, (at, len)) in
        [(0, 3_000_001), (4095, 2), (1 << 20, (1 << 20) + 1), (777, 65_537), (2_999_999, 5_000)].into_iter().enumerate()
    {
        let part = pattern(len, seed * 7);
        write_all(&made, &part, at as u64)?;
        wanted.resize(wanted.len().max(at + len), 0);
        wanted[at..at + len].copy_from_slice(&part);
    }
    holds(all(&made, wanted.len() + 1)? == wanted, "it reads as it was written")?;
    holds(std::fs::read("f")? == wanted, "another descriptor reads the same")
}

fn one_descriptor_sees_what_another_wrote() -> Held {
    let made = made("f")?;
    let other = opened("f", OFlags::RDONLY)?;
    for (at, part) in [(0, "abcdef"), (3, "XY"), (10, "end")] {
        pwrite(&made, part.as_bytes(), at)?;
        equal(all(&other, 100)?, all(&made, 100)?)?;
    }
    ftruncate(&made, 2)?;
    equal(all(&other, 100)?, b"ab".to_vec())
}

fn one_process_sees_what_another_wrote() -> Held {
    put("f", "before")?;
    let file = opened("f", OFlags::RDONLY)?;
    equal(all(&file, 100)?, b"before".to_vec())?;
    apart(|| put("f", "a longer one after"))?;
    equal(all(&file, 100)?, b"a longer one after".to_vec())?;
    equal(fstat(&file)?.st_size, 18)
}

fn appending_ignores_positions() -> Held {
    put("f", "abc")?;
    let file = opened("f", OFlags::RDWR | OFlags::APPEND)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    write(&file, b"d")?;
    equal(rustix::fs::tell(&file)?, 4)?;
    put("f", "")?;
    write(&file, b"x")?;
    equal(text("f")?.as_str(), "x")
}

fn appending_processes_lose_nothing() -> Held {
    let line = |who: usize| format!("{who}").repeat(15) + "\n";
    let writers: Result<Vec<_>, _> = (0..4)
        .map(|who| {
            spawn(move || {
                let file = open("f", OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND, bits(0o644))?;
                (0..200).try_for_each(|_| equal(write(&file, line(who).as_bytes())?, 16))
            })
        })
        .collect();
    writers?.into_iter().try_for_each(crate::sys::child::Child::wait)?;
    let content = text("f")?;
    equal(content.len(), 4 * 200 * 16)?;
    for who in 0..4 {
        equal(content.lines().filter(|got| *got == line(who).trim_end()).count(), 200)?;
    }
    Ok(())
}

fn copied_within_the_kernel() -> Held {
    let (from, to) = (made("from")?, made("to")?);
    let content = pattern(300_007, 3);
    write_all(&from, &content, 0)?;
    let (mut read_at, mut write_at) = (5, 11);
    while copy_file_range(&from, Some(&mut read_at), &to, Some(&mut write_at), 1 << 20)? > 0 {}
    equal((read_at, write_at), (300_007, 300_013))?;
    let got = all(&to, 400_000)?;
    holds(got[..11] == [0; 11] && got[11..] == content[5..], "it is the same")?;
    fails(Errno::BADF, copy_file_range(&from, None, opened("to", OFlags::RDONLY)?, None, 5))
}

fn copied_within_one_file() -> Held {
    let made = made("f")?;
    pwrite(&made, b"abcdef", 0)?;
    let (mut from, mut to) = (0, 6);
    equal(copy_file_range(&made, Some(&mut from), &made, Some(&mut to), 3)?, 3)?;
    equal(text("f")?.as_str(), "abcdefabc")
}

fn copying_over_itself_is_refused() -> Held {
    let made = made("f")?;
    pwrite(&made, b"abcdef", 0)?;
    let (mut from, mut to) = (0, 2);
    fails(Errno::INVAL, copy_file_range(&made, Some(&mut from), &made, Some(&mut to), 4))?;
    equal(text("f")?.as_str(), "abcdef")
}

fn directly_without_the_cache() -> Held {
    let direct = open("f", OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT, bits(0o644))?;
    let mut space = vec![0; 3 * 4096];
    let start = space.as_ptr().align_offset(4096);
    let block = &mut space[start..start + 8192];
    block.copy_from_slice(&pattern(8192, 1));
    equal(pwrite(&direct, block, 4096)?, 8192)?;
    equal(fstat(&direct)?.st_size, 12_288)?;
    let cached = opened("f", OFlags::RDWR)?;
    holds(all(&cached, 20_000)?[4096..] == pattern(8192, 1), "the cache has what was written directly")?;
    pwrite(&cached, b"cached", 4096)?;
    block.fill(0);
    equal(pread(&direct, &mut *block, 4096)?, 8192)?;
    equal(&block[..6], b"cached")?;
    equal(pread(&direct, &mut *block, 8192)?, 4096)
}

fn a_mapping_shows_what_was_written() -> Held {
    let made = made("f")?;
    pwrite(&made, b"before", 0)?;
    let mapping = Mapping::shared(&made, 4096)?;
    let mut got = [0; 6];
    mapping.read(0, &mut got);
    equal(&got, b"before")?;
    pwrite(&made, b"after!", 0)?;
    mapping.read(0, &mut got);
    equal(&got, b"after!")
}

fn a_mapping_writes_the_file() -> Held {
    let made = made("f")?;
    ftruncate(&made, 10_000)?;
    let mapping = Mapping::shared(&made, 10_000)?;
    mapping.write(4094, b"across");
    equal(&all(&made, 10_000)?[4094..4100], b"across")?;
    mapping.sync()?;
    apart(|| equal(&std::fs::read("f")?[4094..4100], b"across"))?;
    equal(fstat(&made)?.st_size, 10_000)
}

fn a_private_mapping_leaves_the_file() -> Held {
    let made = made("f")?;
    pwrite(&made, b"content", 0)?;
    let mapping = Mapping::private(&made, 7)?;
    mapping.write(0, b"private");
    equal(text("f")?.as_str(), "content")
}

fn a_mapping_behind_the_end_is_a_bus_error() -> Held {
    let made = made("f")?;
    pwrite(&made, &[1; 8192], 0)?;
    let mapping = Mapping::shared(&made, 8192)?;
    equal(mapping.touch(5000), 1)?;
    ftruncate(&made, 100)?;
    equal(mapping.touch(200), 0)?;
    let touching = spawn(|| holds(mapping.touch(5000) == 2, "it gets that far"))?;
    equal(touching.killed_by()?, Some(7))
}

fn a_mapping_outlives_its_descriptor_and_name() -> Held {
    let made = made("f")?;
    pwrite(&made, b"content", 0)?;
    let mapping = Mapping::shared(&made, 7)?;
    drop(made);
    rustix::fs::unlink("f")?;
    mapping.write(0, b"C");
    let mut got = [0; 7];
    mapping.read(0, &mut got);
    equal(&got, b"Content")?;
    Ok(mapping.sync()?)
}

fn descriptors_for_the_other_direction_refuse() -> Held {
    put("f", "x")?;
    fails(Errno::BADF, write(opened("f", OFlags::RDONLY)?, b"y"))?;
    fails(Errno::BADF, read(opened("f", OFlags::WRONLY)?, &mut [0; 1]))?;
    fails(Errno::ACCESS, Mapping::shared(&opened("f", OFlags::RDONLY)?, 1).map(drop))
}

fn synced_by_every_call() -> Held {
    let made = open("f", OFlags::RDWR | OFlags::CREATE | OFlags::DSYNC, bits(0o644))?;
    pwrite(&made, b"x", 0)?;
    fsync(&made)?;
    fdatasync(&made)?;
    fsync(opened(".", OFlags::RDONLY)?)?;
    rustix::fs::syncfs(&made)?;
    equal(text("f")?.as_str(), "x")
}
