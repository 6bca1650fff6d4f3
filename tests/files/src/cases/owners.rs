//! Owners: root gives anything to anyone, others give only to groups they are in, and set-id bits do not go along.

use rustix::fs::{AtFlags, CWD, Gid, OFlags, Uid, chownat, fchown, link, lstat, symlink};
use rustix::io::Errno;

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{allow, changed, file, folder, give, made, mode_is, modified, opened, owner_is, tick};
use crate::sys::child::{ANNA, BERT, as_user, as_user_in};

cases!("owners":
    root_gives_to_anyone,
    very_large_ids,
    one_of_both_is_left_alone,
    by_descriptor,
    follows_links_unless_told,
    all_names_of_a_file,
    owners_give_to_their_groups_only,
    others_give_nothing,
    giving_takes_set_id_away,
    set_group_without_execution_stays,
    folders_keep_set_id_when_given,
    changes_ctime_and_no_mtime,
    new_things_belong_to_who_made_them,
);

fn change(path: &str, uid: Option<u32>, gid: Option<u32>, flags: AtFlags) -> rustix::io::Result<()> {
    chownat(CWD, path, uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags)
}

fn root_gives_to_anyone() -> Held {
    file("f")?;
    folder("d")?;
    symlink("f", "l")?;
    for name in ["f", "d", "l"] {
        give(name, 1, 2)?;
        owner_is(name, 1, 2)?;
        give(name, 0, 0)?;
        owner_is(name, 0, 0)?;
    }
    Ok(())
}

fn very_large_ids() -> Held {
    file("f")?;
    for id in [65_534, 65_535, 65_536, 1 << 31, u32::MAX - 1] {
        give("f", id, id - 1)?;
        owner_is("f", id, id - 1)?;
    }
    Ok(())
}

fn one_of_both_is_left_alone() -> Held {
    file("f")?;
    give("f", 5, 6)?;
    change("f", Some(7), None, AtFlags::empty())?;
    owner_is("f", 7, 6)?;
    change("f", None, Some(8), AtFlags::empty())?;
    owner_is("f", 7, 8)?;
    change("f", None, None, AtFlags::empty())?;
    owner_is("f", 7, 8)
}

fn by_descriptor() -> Held {
    let made = made("f")?;
    fchown(&made, Some(Uid::from_raw(5)), Some(Gid::from_raw(6)))?;
    owner_is("f", 5, 6)?;
    let path = opened("f", OFlags::PATH)?;
    fails(Errno::BADF, fchown(&path, Some(Uid::from_raw(7)), None))?;
    chownat(&path, "", Some(Uid::from_raw(7)), None, AtFlags::EMPTY_PATH)?;
    owner_is("f", 7, 6)
}

fn follows_links_unless_told() -> Held {
    file("f")?;
    symlink("f", "l")?;
    change("l", Some(3), Some(4), AtFlags::empty())?;
    owner_is("f", 3, 4)?;
    owner_is("l", 0, 0)?;
    change("l", Some(5), Some(6), AtFlags::SYMLINK_NOFOLLOW)?;
    owner_is("f", 3, 4)?;
    owner_is("l", 5, 6)
}

fn all_names_of_a_file() -> Held {
    file("a")?;
    link("a", "b")?;
    give("a", 9, 9)?;
    equal(lstat("b")?.st_uid, 9)
}

fn owners_give_to_their_groups_only() -> Held {
    file("f")?;
    give("f", ANNA.0, ANNA.0)?;
    as_user_in(ANNA, &[3000], || {
        change("f", None, Some(3000), AtFlags::empty())?;
        fails(Errno::PERM, change("f", None, Some(3001), AtFlags::empty()))?;
        fails(Errno::PERM, change("f", Some(BERT.0), None, AtFlags::empty()))?;
        change("f", Some(ANNA.0), Some(ANNA.0), AtFlags::empty()).map_err(Into::into)
    })?;
    owner_is("f", ANNA.0, ANNA.0)
}

fn others_give_nothing() -> Held {
    file("f")?;
    allow("f", 0o777)?;
    as_user(BERT, || {
        fails(Errno::PERM, change("f", Some(BERT.0), None, AtFlags::empty()))?;
        fails(Errno::PERM, change("f", None, Some(BERT.0), AtFlags::empty()))
    })?;
    owner_is("f", 0, 0)
}

fn giving_takes_set_id_away() -> Held {
    file("f")?;
    for (uid, gid) in [(Some(1), None), (None, Some(1)), (Some(2), Some(2))] {
        allow("f", 0o6755)?;
        change("f", uid, gid, AtFlags::empty())?;
        mode_is("f", 0o755)?;
    }
    give("f", ANNA.0, ANNA.0)?;
    allow("f", 0o6755)?;
    as_user_in(ANNA, &[3000], || Ok(change("f", None, Some(3000), AtFlags::empty())?))?;
    mode_is("f", 0o755)
}

fn set_group_without_execution_stays() -> Held {
    file("f")?;
    allow("f", 0o2644)?;
    change("f", Some(1), Some(1), AtFlags::empty())?;
    mode_is("f", 0o2644)
}

fn folders_keep_set_id_when_given() -> Held {
    folder("d")?;
    allow("d", 0o6755)?;
    give("d", 1, 1)?;
    mode_is("d", 0o6755)
}

fn changes_ctime_and_no_mtime() -> Held {
    file("f")?;
    let before = (changed("f")?, modified("f")?);
    tick();
    give("f", 1, 1)?;
    holds(changed("f")? > before.0, "ctime is newer")?;
    equal(modified("f")?, before.1)
}

fn new_things_belong_to_who_made_them() -> Held {
    allow(".", 0o777)?;
    as_user(ANNA, || {
        file("f")?;
        folder("d")?;
        Ok(symlink("f", "l")?)
    })?;
    for name in ["f", "d", "l"] {
        owner_is(name, ANNA.0, ANNA.0)?;
    }
    Ok(())
}
