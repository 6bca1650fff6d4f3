//! Times: set to the nanosecond by who may, and moved on by what is done.

use rustix::fs::{
    AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, lstat, symlink, utimensat,
};
use rustix::io::{Errno, pwrite, read};

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{allow, changed, file, folder, give, made, modified, opened, put, tick};
use crate::sys::child::{ANNA, BERT, as_user};

cases!("times":
    both_are_set_to_the_nanosecond,
    of_links_and_folders,
    before_1970_and_after_2038,
    one_is_omitted,
    now_is_now,
    by_descriptor,
    owners_set_them_others_who_write_set_them_to_now,
    nanoseconds_beyond_a_second_are_refused,
    setting_them_changes_ctime,
    reading_leaves_mtime_and_ctime,
    writing_changes_mtime_and_ctime,
    truncating_changes_mtime_and_ctime,
    writing_nothing_changes_nothing,
    new_things_are_of_now,
    stay_with_what_is_renamed,
    writing_after_they_were_set_moves_them,
);

fn at(sec: i64, nsec: i64) -> Timespec {
    Timespec { tv_sec: sec, tv_nsec: nsec }
}

fn set(path: &str, access: Timespec, change: Timespec) -> rustix::io::Result<()> {
    let times = Timestamps { last_access: access, last_modification: change };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Of access and of modification.
fn times(path: &str) -> Result<[(i64, u64); 2], Wrong> {
    let stat = lstat(path)?;
    Ok([(stat.st_atime, stat.st_atime_nsec), (stat.st_mtime, stat.st_mtime_nsec)])
}

/// Within a few seconds of this process' clock.
fn is_now(time: (i64, u64)) -> Held {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    holds((now - 10..=now + 1).contains(&time.0), "it is of now")
}

fn both_are_set_to_the_nanosecond() -> Held {
    file("f")?;
    set("f", at(1_000_000_001, 123_456_789), at(1_500_000_002, 987_654_321))?;
    equal(times("f")?, [(1_000_000_001, 123_456_789), (1_500_000_002, 987_654_321)])?;
    set("f", at(0, 0), at(1, 999_999_999))?;
    equal(times("f")?, [(0, 0), (1, 999_999_999)])
}

fn of_links_and_folders() -> Held {
    file("f")?;
    folder("d")?;
    symlink("f", "l")?;
    let before = times("f")?;
    for name in ["d", "l"] {
        set(name, at(11, 12), at(13, 14))?;
        equal(times(name)?, [(11, 12), (13, 14)])?;
    }
    equal(times("f")?, before)?;
    utimensat(CWD, "l", &Timestamps { last_access: at(1, 2), last_modification: at(3, 4) }, AtFlags::empty())?;
    equal(times("f")?, [(1, 2), (3, 4)])
}

fn before_1970_and_after_2038() -> Held {
    file("f")?;
    for sec in [-1, -86_400, -2_000_000_000, 2_147_483_647, 2_147_483_648, 4_294_967_296, 10_000_000_000] {
        set("f", at(sec, 5), at(sec, 6))?;
        equal(times("f")?, [(sec, 5), (sec, 6)])?;
    }
    Ok(())
}

fn one_is_omitted() -> Held {
    file("f")?;
    set("f", at(1, 1), at(2, 2))?;
    set("f", at(0, UTIME_OMIT), at(3, 3))?;
    equal(times("f")?, [(1, 1), (3, 3)])?;
    set("f", at(4, 4), at(0, UTIME_OMIT))?;
    equal(times("f")?, [(4, 4), (3, 3)])?;
    set("f", at(0, UTIME_OMIT), at(0, UTIME_OMIT))?;
    equal(times("f")?, [(4, 4), (3, 3)])
}

fn now_is_now() -> Held {
    file("f")?;
    set("f", at(1, 1), at(2, 2))?;
    set("f", at(0, UTIME_NOW), at(0, UTIME_OMIT))?;
    is_now(times("f")?[0])?;
    equal(times("f")?[1], (2, 2))?;
    set("f", at(0, UTIME_NOW), at(0, UTIME_NOW))?;
    is_now(times("f")?[1])
}

fn by_descriptor() -> Held {
    file("f")?;
    let read_only = opened("f", OFlags::RDONLY)?;
    futimens(&read_only, &Timestamps { last_access: at(5, 6), last_modification: at(7, 8) })?;
    equal(times("f")?, [(5, 6), (7, 8)])
}

fn owners_set_them_others_who_write_set_them_to_now() -> Held {
    file("f")?;
    give("f", ANNA.0, ANNA.0)?;
    allow("f", 0o466)?;
    as_user(ANNA, || Ok(set("f", at(1, 1), at(2, 2))?))?;
    as_user(BERT, || {
        fails(Errno::PERM, set("f", at(3, 3), at(4, 4)))?;
        fails(Errno::PERM, set("f", at(0, UTIME_NOW), at(0, UTIME_OMIT)))?;
        Ok(set("f", at(0, UTIME_NOW), at(0, UTIME_NOW))?)
    })?;
    is_now(times("f")?[1])?;
    allow("f", 0o644)?;
    as_user(BERT, || fails(Errno::ACCESS, set("f", at(0, UTIME_NOW), at(0, UTIME_NOW))))
}

fn nanoseconds_beyond_a_second_are_refused() -> Held {
    file("f")?;
    fails(Errno::INVAL, set("f", at(1, 1_000_000_000), at(1, 1)))?;
    fails(Errno::INVAL, set("f", at(1, 1), at(1, -1)))
}

fn setting_them_changes_ctime() -> Held {
    file("f")?;
    let before = changed("f")?;
    tick();
    set("f", at(1, 1), at(2, 2))?;
    holds(changed("f")? > before, "ctime is newer")
}

fn reading_leaves_mtime_and_ctime() -> Held {
    put("f", "x")?;
    let before = (modified("f")?, changed("f")?);
    tick();
    read(opened("f", OFlags::RDONLY)?, &mut [0; 4])?;
    equal((modified("f")?, changed("f")?), before)
}

fn writing_changes_mtime_and_ctime() -> Held {
    let made = made("f")?;
    for len in 1..3 {
        let before = (modified("f")?, changed("f")?);
        tick();
        pwrite(&made, &b"xxx"[..len], 0)?;
        holds(modified("f")? > before.0 && changed("f")? > before.1, "mtime and ctime are newer")?;
    }
    Ok(())
}

fn truncating_changes_mtime_and_ctime() -> Held {
    put("f", "content")?;
    let acts: [fn() -> Held; 4] = [
        || Ok(crate::sys::odd::truncate("f", 3)?),
        || Ok(crate::sys::odd::ftruncate(&opened("f", OFlags::RDWR)?, 9)?),
        || Ok(crate::sys::odd::ftruncate(&opened("f", OFlags::RDWR)?, 9)?),
        || opened("f", OFlags::WRONLY | OFlags::TRUNC).map(drop),
    ];
    for act in acts {
        let before = (modified("f")?, changed("f")?);
        tick();
        act()?;
        holds(modified("f")? > before.0 && changed("f")? > before.1, "mtime and ctime are newer")?;
    }
    Ok(())
}

fn writing_nothing_changes_nothing() -> Held {
    let made = made("f")?;
    let before = (modified("f")?, changed("f")?);
    tick();
    equal(pwrite(&made, b"", 5)?, 0)?;
    equal((modified("f")?, changed("f")?), before)
}

fn new_things_are_of_now() -> Held {
    file("f")?;
    folder("d")?;
    symlink("f", "l")?;
    for name in ["f", "d", "l"] {
        is_now(changed(name)?)?;
        times(name)?.into_iter().try_for_each(is_now)?;
    }
    Ok(())
}

fn stay_with_what_is_renamed() -> Held {
    file("f")?;
    set("f", at(1, 2), at(3, 4))?;
    rustix::fs::rename("f", "g")?;
    rustix::fs::link("g", "h")?;
    equal(times("h")?, [(1, 2), (3, 4)])
}

fn writing_after_they_were_set_moves_them() -> Held {
    let made = made("f")?;
    pwrite(&made, b"before", 0)?;
    set("f", at(1, 2), at(3, 4))?;
    equal(modified("f")?, (3, 4))?;
    pwrite(&made, b"after", 0)?;
    is_now(modified("f")?)?;
    set("f", at(1, 2), at(3, 4))?;
    drop(made);
    equal(modified("f")?, (3, 4))
}
