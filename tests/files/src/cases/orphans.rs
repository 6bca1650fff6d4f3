//! Orphans: what has no name any more is all there for those who still have it open, and nobody else.

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, OFlags, Timespec, Timestamps, Uid, fallocate, fchmod, fchown, fstat, fsync,
    ftruncate, futimens, linkat, mkdir, openat, rename, rmdir, statat, unlink,
};
use rustix::io::{Errno, pread, pwrite, read};

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{bits, file, folder, is_there, made, mode_of, opened, put, text};
use crate::sys::child::{Gate, spawn};

cases!("orphans":
    have_no_links,
    are_read_and_written,
    are_truncated_and_allocated,
    change_mode_owner_and_times,
    that_were_replaced_are_the_old_ones,
    whose_name_is_taken_again_are_others,
    of_another_process,
    with_another_name_live_on,
    are_reached_by_their_descriptor,
    get_no_new_name,
    many_at_once,
    folders_are_empty_and_take_nothing,
    the_current_folder_may_be_one,
    folders_replaced_by_rename,
);

fn have_no_links() -> Held {
    let made = made("f")?;
    let ino = fstat(&made)?.st_ino;
    unlink("f")?;
    let stat = fstat(&made)?;
    equal((stat.st_nlink, stat.st_ino, stat.st_size), (0, ino, 0))?;
    equal(statat(&made, "", AtFlags::EMPTY_PATH)?.st_nlink, 0)?;
    holds(!is_there("f"), "the name is gone")
}

fn are_read_and_written() -> Held {
    let made = made("f")?;
    pwrite(&made, b"before", 0)?;
    unlink("f")?;
    pwrite(&made, b"after", 6)?;
    let mut got = [0; 20];
    equal(pread(&made, &mut got, 0)?, 11)?;
    equal(&got[..11], b"beforeafter")?;
    fsync(&made)?;
    equal(fstat(&made)?.st_size, 11)
}

fn are_truncated_and_allocated() -> Held {
    let made = made("f")?;
    pwrite(&made, b"content", 0)?;
    unlink("f")?;
    ftruncate(&made, 3)?;
    equal(fstat(&made)?.st_size, 3)?;
    fallocate(&made, FallocateFlags::empty(), 0, 5000)?;
    equal(fstat(&made)?.st_size, 5000)?;
    let mut got = [0xee; 8];
    pread(&made, &mut got, 0)?;
    equal(&got, b"con\0\0\0\0\0")
}

fn change_mode_owner_and_times() -> Held {
    let made = made("f")?;
    unlink("f")?;
    fchmod(&made, bits(0o604))?;
    fchown(&made, Some(Uid::from_raw(5)), Some(Gid::from_raw(6)))?;
    let time = |sec| Timespec { tv_sec: sec, tv_nsec: 7 };
    futimens(&made, &Timestamps { last_access: time(1), last_modification: time(2) })?;
    let stat = fstat(&made)?;
    equal((mode_of(&stat), stat.st_uid, stat.st_gid), (0o604, 5, 6))?;
    equal((stat.st_mtime, stat.st_mtime_nsec), (2, 7))
}

fn that_were_replaced_are_the_old_ones() -> Held {
    put("a", "old")?;
    put("b", "new")?;
    let old = opened("a", OFlags::RDWR)?;
    rename("b", "a")?;
    pwrite(&old, b"OLD", 0)?;
    equal(text("a")?.as_str(), "new")?;
    fchmod(&old, bits(0o600))?;
    crate::scene::mode_is("a", 0o644)?;
    equal(fstat(&old)?.st_nlink, 0)
}

fn whose_name_is_taken_again_are_others() -> Held {
    let old = made("f")?;
    pwrite(&old, b"old", 0)?;
    unlink("f")?;
    let new = made("f")?;
    pwrite(&new, b"newer", 0)?;
    holds(fstat(&old)?.st_ino != fstat(&new)?.st_ino, "they are two files")?;
    equal((fstat(&old)?.st_size, fstat(&new)?.st_size), (3, 5))
}

fn of_another_process() -> Held {
    put("f", "content")?;
    let (held, gone) = (Gate::new()?, Gate::new()?);
    let holder = spawn(|| {
        let file = opened("f", OFlags::RDONLY)?;
        held.open()?;
        gone.pass()?;
        let mut got = [0; 7];
        read(&file, &mut got)?;
        equal(&got, b"content")?;
        equal(fstat(&file)?.st_nlink, 0)
    })?;
    held.pass()?;
    unlink("f")?;
    gone.open()?;
    holder.wait()
}

fn with_another_name_live_on() -> Held {
    let made = made("f")?;
    rustix::fs::link("f", "g")?;
    unlink("f")?;
    pwrite(&made, b"x", 0)?;
    equal(fstat(&made)?.st_nlink, 1)?;
    equal(text("g")?.as_str(), "x")
}

fn are_reached_by_their_descriptor() -> Held {
    use std::os::fd::AsRawFd;
    let made = made("f")?;
    pwrite(&made, b"content", 0)?;
    unlink("f")?;
    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
    equal(text(&path)?.as_str(), "content")?;
    crate::sys::odd::truncate(&path, 4)?;
    equal(fstat(&made)?.st_size, 4)
}

fn get_no_new_name() -> Held {
    let made = made("f")?;
    unlink("f")?;
    fails(Errno::NOENT, linkat(&made, "", CWD, "g", AtFlags::EMPTY_PATH))
}

fn many_at_once() -> Held {
    let made: Result<Vec<_>, _> = (0..300)
        .map(|_| {
            let made = made("f")?;
            unlink("f")?;
            Ok::<_, crate::case::Wrong>(made)
        })
        .collect();
    let made = made?;
    for (at, file) in made.iter().enumerate() {
        pwrite(file, &at.to_le_bytes(), 0)?;
    }
    for (at, file) in made.iter().enumerate() {
        let mut got = [0; 8];
        pread(file, &mut got, 0)?;
        equal(usize::from_le_bytes(got), at)?;
    }
    equal(std::fs::read_dir(".")?.count(), 0)
}

fn folders_are_empty_and_take_nothing() -> Held {
    folder("d")?;
    let held = opened("d", OFlags::RDONLY)?;
    rmdir("d")?;
    equal(fstat(&held)?.st_nlink, 0)?;
    fails(Errno::NOENT, openat(&held, "f", OFlags::CREATE | OFlags::WRONLY, bits(0o644)))?;
    fails(Errno::NOENT, rustix::fs::mkdirat(&held, "e", bits(0o755)))?;
    fails(Errno::NOENT, statat(&held, "f", AtFlags::empty()))?;
    fchmod(&held, bits(0o700))?;
    equal(mode_of(&fstat(&held)?), 0o700)
}

fn the_current_folder_may_be_one() -> Held {
    folder("d")?;
    std::env::set_current_dir("d")?;
    rmdir("../d")?;
    fails(Errno::NOENT, mkdir("e", bits(0o755)))?;
    fails(Errno::NOENT, rustix::process::getcwd(Vec::new()))?;
    equal(std::fs::read_dir(".")?.count(), 0)?;
    rustix::fs::stat(".")?;
    std::env::set_current_dir("..")?;
    file("f")
}

fn folders_replaced_by_rename() -> Held {
    folder("a")?;
    folder("b")?;
    file("a/f")?;
    let old = opened("b", OFlags::RDONLY)?;
    rename("a", "b")?;
    equal(fstat(&old)?.st_nlink, 0)?;
    fails(Errno::NOENT, statat(&old, "f", AtFlags::empty()))?;
    holds(is_there("b/f"), "the new one has it")
}
