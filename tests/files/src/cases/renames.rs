//! Renaming: what replaces what, what refuses, and what stays the same file throughout.

use rustix::fs::{CWD, RenameFlags, link, lstat, open, rename, renameat_with, stat, symlink};
use rustix::io::{Errno, read};

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{bits, changed, file, folder, is_there, modified, opened, put, text, tick};
use crate::sys::child::{ANNA, BERT, as_user};

cases!("rename":
    keeps_the_file,
    of_every_kind_to_a_free_name,
    a_file_replaces_a_file_and_a_link,
    a_link_is_renamed_and_replaced_itself,
    a_folder_replaces_only_an_empty_one,
    a_file_does_not_replace_a_folder_nor_the_reverse,
    to_itself_and_to_its_other_name_does_nothing,
    a_folder_not_into_itself,
    of_dots_is_refused,
    of_nothing_or_into_nothing_is_refused,
    a_folder_with_all_that_is_in_it,
    what_was_replaced_stays_open,
    changes_the_times_of_both_folders,
    to_another_case_of_letters,
    without_replacing,
    exchange_of_every_kind,
    exchange_of_nothing_is_refused,
    flags_together_are_refused,
    sticky_folders_ask_who_owns,
);

const NO_REPLACE: RenameFlags = RenameFlags::NOREPLACE;
const EXCHANGE: RenameFlags = RenameFlags::EXCHANGE;

fn with(flags: RenameFlags, from: &str, to: &str) -> rustix::io::Result<()> {
    renameat_with(CWD, from, CWD, to, flags)
}

/// One of each kind, by its own name.
fn one_of_each() -> Held {
    put("file", "file")?;
    folder("folder")?;
    symlink("target", "link")?;
    rustix::fs::mknodat(CWD, "fifo", rustix::fs::FileType::Fifo, bits(0o644), 0)?;
    Ok(())
}

fn keeps_the_file() -> Held {
    put("a", "x")?;
    let ino = stat("a")?.st_ino;
    let held = opened("a", rustix::fs::OFlags::RDONLY)?;
    rename("a", "b")?;
    fails(Errno::NOENT, stat("a"))?;
    equal(stat("b")?.st_ino, ino)?;
    equal(rustix::fs::fstat(&held)?.st_ino, ino)?;
    equal(stat("b")?.st_nlink, 1)
}

fn of_every_kind_to_a_free_name() -> Held {
    one_of_each()?;
    for name in ["file", "folder", "link", "fifo"] {
        let ino = lstat(name)?.st_ino;
        let new = format!("new-{name}");
        rename(name, new.as_str())?;
        equal(lstat(new.as_str())?.st_ino, ino)?;
        holds(!is_there(name), "the old name is free")?;
    }
    Ok(())
}

fn a_file_replaces_a_file_and_a_link() -> Held {
    one_of_each()?;
    for name in ["file", "link", "fifo"] {
        put("new", "new")?;
        rename("new", name)?;
        equal(text(name)?.as_str(), "new")?;
        holds(!is_there("new") && !is_there("target"), "the old name is free, no link was followed")?;
    }
    Ok(())
}

fn a_link_is_renamed_and_replaced_itself() -> Held {
    put("target", "x")?;
    symlink("target", "link")?;
    rename("link", "moved")?;
    equal(lstat("moved")?.st_size, 6)?;
    put("other", "y")?;
    rename("moved", "other")?;
    equal(text("other")?.as_str(), "x")?;
    equal(lstat("other")?.st_size, 6)
}

fn a_folder_replaces_only_an_empty_one() -> Held {
    folder("a")?;
    file("a/f")?;
    folder("b")?;
    folder("full")?;
    file("full/g")?;
    fails(Errno::NOTEMPTY, rename("a", "full"))?;
    rename("a", "b")?;
    holds(is_there("b/f") && !is_there("a"), "it came with what is in it")
}

fn a_file_does_not_replace_a_folder_nor_the_reverse() -> Held {
    one_of_each()?;
    for name in ["file", "link", "fifo"] {
        fails(Errno::ISDIR, rename(name, "folder"))?;
        fails(Errno::NOTDIR, rename("folder", name))?;
    }
    symlink("folder", "to-folder")?;
    fails(Errno::NOTDIR, rename("folder", "to-folder"))?;
    fails(Errno::NOTDIR, rename("file", "free/"))
}

fn to_itself_and_to_its_other_name_does_nothing() -> Held {
    put("a", "x")?;
    rename("a", "a")?;
    link("a", "b")?;
    rename("a", "b")?;
    holds(is_there("a") && is_there("b"), "both names stay")?;
    equal(stat("a")?.st_nlink, 2)
}

fn a_folder_not_into_itself() -> Held {
    folder("d")?;
    folder("d/e")?;
    fails(Errno::INVAL, rename("d", "d/f"))?;
    fails(Errno::INVAL, rename("d", "d/e/f"))?;
    fails(Errno::NOTEMPTY, rename("d/e", "d"))
}

fn of_dots_is_refused() -> Held {
    folder("d")?;
    folder("e")?;
    fails(Errno::BUSY, rename("d/.", "f"))?;
    fails(Errno::BUSY, rename("d/..", "f"))?;
    fails(Errno::BUSY, rename("d", "e/."))?;
    fails(Errno::BUSY, rename("d", "e/.."))
}

fn of_nothing_or_into_nothing_is_refused() -> Held {
    file("f")?;
    fails(Errno::NOENT, rename("nothing", "x"))?;
    fails(Errno::NOENT, rename("f", "nothing/x"))?;
    fails(Errno::NOTDIR, rename("f", "f/x"))?;
    fails(Errno::NOTDIR, rename("f/x", "y"))
}

fn a_folder_with_all_that_is_in_it() -> Held {
    folder("d")?;
    folder("d/e")?;
    put("d/e/f", "x")?;
    let inside = opened("d/e", rustix::fs::OFlags::RDONLY)?;
    folder("other")?;
    rename("d", "other/d")?;
    equal(text("other/d/e/f")?.as_str(), "x")?;
    equal(stat("other/d/..")?.st_ino, stat("other")?.st_ino)?;
    let open = rustix::fs::openat(&inside, "f", rustix::fs::OFlags::RDONLY, bits(0))?;
    equal(read(open, &mut [0; 8])?, 1)
}

fn what_was_replaced_stays_open() -> Held {
    put("a", "old")?;
    put("b", "new")?;
    let old = opened("a", rustix::fs::OFlags::RDONLY)?;
    rename("b", "a")?;
    equal(rustix::fs::fstat(&old)?.st_nlink, 0)?;
    let mut content = [0; 8];
    let len = read(&old, &mut content)?;
    equal(&content[..len], b"old")
}

fn changes_the_times_of_both_folders() -> Held {
    folder("d")?;
    folder("e")?;
    file("d/f")?;
    let before = (modified("d")?, modified("e")?, changed("d/f")?);
    tick();
    rename("d/f", "e/f")?;
    holds(modified("d")? > before.0 && modified("e")? > before.1, "both folders changed")?;
    holds(changed("e/f")? > before.2, "the file's ctime is newer")
}

fn to_another_case_of_letters() -> Held {
    put("name", "x")?;
    rename("name", "NAME")?;
    holds(!is_there("name"), "the old spelling is free")?;
    equal(text("NAME")?.as_str(), "x")
}

fn without_replacing() -> Held {
    one_of_each()?;
    put("new", "new")?;
    for name in ["file", "folder", "link", "fifo", "new"] {
        fails(Errno::EXIST, with(NO_REPLACE, "new", name))?;
    }
    with(NO_REPLACE, "new", "free")?;
    equal(text("free")?.as_str(), "new")?;
    holds(!is_there("new"), "the old name is free")
}

fn exchange_of_every_kind() -> Held {
    one_of_each()?;
    folder("sub")?;
    put("sub/it", "it")?;
    for name in ["file", "folder", "link", "fifo"] {
        let (one, other) = (lstat(name)?.st_ino, lstat("sub/it")?.st_ino);
        with(EXCHANGE, name, "sub/it")?;
        equal((lstat(name)?.st_ino, lstat("sub/it")?.st_ino), (other, one))?;
        with(EXCHANGE, "sub/it", name)?;
        equal(text("sub/it")?.as_str(), "it")?;
    }
    fails(Errno::INVAL, with(EXCHANGE, "sub", "sub/it"))
}

fn exchange_of_nothing_is_refused() -> Held {
    file("f")?;
    fails(Errno::NOENT, with(EXCHANGE, "f", "nothing"))?;
    fails(Errno::NOENT, with(EXCHANGE, "nothing", "f"))
}

fn flags_together_are_refused() -> Held {
    file("f")?;
    fails(Errno::INVAL, with(NO_REPLACE | EXCHANGE, "f", "g"))?;
    holds(is_there("f"), "it stays")
}

fn sticky_folders_ask_who_owns() -> Held {
    folder("d")?;
    crate::scene::allow("d", 0o1777)?;
    as_user(ANNA, || {
        open("d/anna", rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY, bits(0o666))?;
        Ok(())
    })?;
    as_user(BERT, || {
        fails(Errno::PERM, rename("d/anna", "d/bert"))?;
        file("d/bert")?;
        fails(Errno::PERM, rename("d/bert", "d/anna"))
    })?;
    as_user(ANNA, || Ok(rename("d/anna", "d/new")?))
}
