//! Modes: who may set which bits, and what new things take from the process and from the folder.

use rustix::fs::{CWD, FileType, OFlags, chmod, fchmod, fstat, mkdir, mknodat, open, rename, symlink};
use rustix::io::{Errno, write};
use rustix::process::umask;

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{
    allow, bits, changed, file, folder, give, made, mode_is, mode_of, modified, opened, owner_is, tick,
};
use crate::sys::child::{ANNA, BERT, as_user, as_user_in};

cases!("modes":
    every_bit_of_a_file,
    every_bit_of_a_folder,
    set_by_descriptor,
    set_through_a_link,
    changes_ctime_and_no_mtime,
    only_the_owner_sets_them,
    the_umask_takes_from_all_that_is_made,
    a_folder_hands_its_group_on,
    set_group_is_lost_to_who_is_not_in_the_group,
    writing_takes_set_id_away,
    writing_by_root_leaves_set_id,
    truncating_takes_set_id_away,
    stay_with_what_is_renamed,
    sticky_keeps_others_from_removing,
);

fn every_bit_of_a_file() -> Held {
    file("f")?;
    for mode in [0, 0o1, 0o20, 0o400, 0o644, 0o777, 0o1000, 0o2000, 0o2010, 0o4000, 0o4755, 0o6711, 0o7777] {
        allow("f", mode)?;
        mode_is("f", mode)?;
    }
    Ok(())
}

fn every_bit_of_a_folder() -> Held {
    folder("d")?;
    for mode in [0, 0o111, 0o555, 0o700, 0o777, 0o1777, 0o2755, 0o3777, 0o4755, 0o7777] {
        allow("d", mode)?;
        mode_is("d", mode)?;
    }
    Ok(())
}

fn set_by_descriptor() -> Held {
    let made = made("f")?;
    fchmod(&made, bits(0o4711))?;
    mode_is("f", 0o4711)?;
    let read_only = opened("f", OFlags::RDONLY)?;
    fchmod(&read_only, bits(0o600))?;
    equal(mode_of(&fstat(&made)?), 0o600)
}

fn set_through_a_link() -> Held {
    file("f")?;
    symlink("f", "l")?;
    symlink("nowhere", "m")?;
    allow("l", 0o600)?;
    mode_is("f", 0o600)?;
    mode_is("l", 0o777)?;
    fails(Errno::NOENT, chmod("m", bits(0o600)))
}

fn changes_ctime_and_no_mtime() -> Held {
    file("f")?;
    let before = (changed("f")?, modified("f")?);
    tick();
    allow("f", 0o600)?;
    holds(changed("f")? > before.0, "ctime is newer")?;
    equal(modified("f")?, before.1)
}

fn only_the_owner_sets_them() -> Held {
    file("f")?;
    give("f", ANNA.0, ANNA.0)?;
    allow("f", 0o666)?;
    as_user(BERT, || {
        fails(Errno::PERM, chmod("f", bits(0o777)))?;
        fails(Errno::PERM, fchmod(opened("f", OFlags::RDWR)?, bits(0o777)))
    })?;
    as_user(ANNA, || allow("f", 0o4750))?;
    mode_is("f", 0o4750)
}

fn the_umask_takes_from_all_that_is_made() -> Held {
    for (mask, wanted) in [(0o000, 0o777), (0o022, 0o755), (0o077, 0o700), (0o137, 0o640), (0o777, 0o000)] {
        umask(bits(mask));
        let (f, d, p) = (format!("f{mask}"), format!("d{mask}"), format!("p{mask}"));
        open(f.as_str(), OFlags::CREATE | OFlags::WRONLY, bits(0o777))?;
        mkdir(d.as_str(), bits(0o777))?;
        mknodat(CWD, p.as_str(), FileType::Fifo, bits(0o777), 0)?;
        for name in [f, d, p] {
            mode_is(&name, wanted)?;
        }
    }
    Ok(())
}

fn a_folder_hands_its_group_on() -> Held {
    folder("d")?;
    give("d", 0, 3000)?;
    allow("d", 0o2777)?;
    as_user(ANNA, || {
        file("d/f")?;
        folder("d/e")?;
        Ok(symlink("f", "d/l")?)
    })?;
    for name in ["d/f", "d/e", "d/l"] {
        owner_is(name, ANNA.0, 3000)?;
    }
    mode_is("d/e", 0o2755)?;
    mode_is("d/f", 0o644)?;
    folder("d/e/deeper")?;
    owner_is("d/e/deeper", 0, 3000)
}

fn set_group_is_lost_to_who_is_not_in_the_group() -> Held {
    for name in ["in", "out"] {
        file(name)?;
        give(name, ANNA.0, 3000)?;
    }
    as_user_in(ANNA, &[3000], || allow("in", 0o2755))?;
    as_user(ANNA, || allow("out", 0o2755))?;
    mode_is("in", 0o2755)?;
    mode_is("out", 0o755)
}

fn writing_takes_set_id_away() -> Held {
    file("f")?;
    for (mode, wanted) in [(0o4777, 0o777), (0o6777, 0o777), (0o2777, 0o777), (0o1777, 0o1777)] {
        allow("f", mode)?;
        as_user(BERT, || {
            write(opened("f", OFlags::WRONLY)?, b"x")?;
            Ok(())
        })?;
        mode_is("f", wanted)?;
    }
    Ok(())
}

fn writing_by_root_leaves_set_id() -> Held {
    file("f")?;
    allow("f", 0o6755)?;
    write(opened("f", OFlags::WRONLY)?, b"x")?;
    mode_is("f", 0o6755)
}

fn truncating_takes_set_id_away() -> Held {
    crate::scene::put("f", "content")?;
    let acts: [fn() -> Held; 3] = [
        || Ok(crate::sys::odd::truncate("f", 3)?),
        || Ok(crate::sys::odd::ftruncate(&opened("f", OFlags::WRONLY)?, 2)?),
        || opened("f", OFlags::WRONLY | OFlags::TRUNC).map(drop),
    ];
    for act in acts {
        allow("f", 0o6777)?;
        as_user(BERT, act)?;
        mode_is("f", 0o777)?;
    }
    Ok(())
}

fn stay_with_what_is_renamed() -> Held {
    file("f")?;
    allow("f", 0o4711)?;
    folder("d")?;
    allow("d", 0o2777)?;
    rename("f", "d/g")?;
    mode_is("d/g", 0o4711)?;
    owner_is("d/g", 0, 0)
}

fn sticky_keeps_others_from_removing() -> Held {
    folder("d")?;
    allow("d", 0o1777)?;
    as_user(ANNA, || {
        file("d/f")?;
        folder("d/e")
    })?;
    as_user(BERT, || {
        fails(Errno::PERM, rustix::fs::unlink("d/f"))?;
        fails(Errno::PERM, rustix::fs::rmdir("d/e"))?;
        fails(Errno::ACCESS, rustix::fs::open("d/f", OFlags::WRONLY, bits(0)))
    })?;
    as_user(ANNA, || {
        rustix::fs::unlink("d/f")?;
        Ok(rustix::fs::rmdir("d/e")?)
    })
}
