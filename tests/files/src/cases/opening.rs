//! Opening: what its flags ask for, and what each of them refuses.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, linkat, open, stat, symlink};
use rustix::io::{Errno, read, write};

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{allow, bits, file, folder, is_there, mode_is, opened, put, text};
use crate::sys::child::{ANNA, as_user};

cases!("opening":
    create_makes_a_file_of_the_mode_less_the_umask,
    create_leaves_what_is_there_as_it_is,
    exclusive_refuses_what_is_there,
    exclusive_refuses_a_link_that_leads_nowhere,
    create_through_a_link_that_leads_nowhere_makes_the_target,
    truncate_empties,
    truncate_and_create_both_may_be_asked,
    append_writes_at_the_end_whoever_else_wrote,
    directory_refuses_a_file,
    a_folder_opens_for_reading_only,
    nofollow_refuses_a_link,
    path_only_gives_no_content,
    nothing_there_is_noent,
    a_file_is_no_folder_on_the_way,
    a_file_with_a_slash_behind_it_is_refused,
    a_file_made_without_rights_is_written_by_who_made_it,
    an_unnamed_file_gets_a_name_later,
    an_unnamed_file_without_a_name_leaves_nothing,
);

const NEW: OFlags = OFlags::RDWR.union(OFlags::CREATE);

fn create_makes_a_file_of_the_mode_less_the_umask() -> Held {
    let made = open("f", NEW, bits(0o666))?;
    mode_is("f", 0o644)?;
    equal(fstat(&made)?.st_size, 0)?;
    equal(fstat(&made)?.st_nlink, 1)?;
    equal(fstat(&made)?.st_ino, stat("f")?.st_ino)
}

fn create_leaves_what_is_there_as_it_is() -> Held {
    put("f", "old")?;
    open("f", NEW, bits(0o600))?;
    mode_is("f", 0o644)?;
    equal(text("f")?.as_str(), "old")
}

fn exclusive_refuses_what_is_there() -> Held {
    file("f")?;
    folder("d")?;
    fails(Errno::EXIST, open("f", NEW | OFlags::EXCL, bits(0o644)))?;
    fails(Errno::EXIST, open("d", NEW | OFlags::EXCL, bits(0o644)))
}

fn exclusive_refuses_a_link_that_leads_nowhere() -> Held {
    symlink("nowhere", "l")?;
    fails(Errno::EXIST, open("l", NEW | OFlags::EXCL, bits(0o644)))?;
    holds(!is_there("nowhere"), "nothing was made where the link leads")
}

fn create_through_a_link_that_leads_nowhere_makes_the_target() -> Held {
    symlink("target", "l")?;
    write(open("l", NEW, bits(0o644))?, b"x")?;
    equal(text("target")?.as_str(), "x")
}

fn truncate_empties() -> Held {
    put("f", "content")?;
    let emptied = opened("f", OFlags::RDWR | OFlags::TRUNC)?;
    equal(fstat(&emptied)?.st_size, 0)?;
    equal(stat("f")?.st_size, 0)
}

fn truncate_and_create_both_may_be_asked() -> Held {
    write(open("f", NEW | OFlags::TRUNC, bits(0o640))?, b"first")?;
    write(open("f", NEW | OFlags::TRUNC, bits(0o600))?, b"2")?;
    mode_is("f", 0o640)?;
    equal(text("f")?.as_str(), "2")
}

fn append_writes_at_the_end_whoever_else_wrote() -> Held {
    let one = open("f", OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND, bits(0o644))?;
    let other = opened("f", OFlags::WRONLY | OFlags::APPEND)?;
    write(&one, b"a")?;
    write(&other, b"b")?;
    write(&one, b"c")?;
    equal(text("f")?.as_str(), "abc")
}

fn directory_refuses_a_file() -> Held {
    file("f")?;
    folder("d")?;
    fails(Errno::NOTDIR, opened_as("f", OFlags::DIRECTORY))?;
    opened("d", OFlags::DIRECTORY)?;
    Ok(())
}

fn a_folder_opens_for_reading_only() -> Held {
    folder("d")?;
    fails(Errno::ISDIR, opened_as("d", OFlags::WRONLY))?;
    fails(Errno::ISDIR, opened_as("d", OFlags::RDWR))?;
    fails(Errno::ISDIR, open("d", NEW, bits(0o644)))?;
    fails(Errno::ISDIR, read(opened("d", OFlags::RDONLY)?, &mut [0; 8]))
}

fn nofollow_refuses_a_link() -> Held {
    file("f")?;
    symlink("f", "l")?;
    fails(Errno::LOOP, opened_as("l", OFlags::NOFOLLOW))?;
    opened("f", OFlags::NOFOLLOW)?;
    equal(fstat(opened("l", OFlags::NOFOLLOW | OFlags::PATH)?)?.st_size, 1)
}

fn path_only_gives_no_content() -> Held {
    put("f", "x")?;
    let path = opened("f", OFlags::PATH)?;
    fails(Errno::BADF, read(&path, &mut [0; 8]))?;
    equal(fstat(&path)?.st_size, 1)
}

fn nothing_there_is_noent() -> Held {
    fails(Errno::NOENT, opened_as("f", OFlags::RDONLY))?;
    fails(Errno::NOENT, open("d/f", NEW, bits(0o644)))?;
    fails(Errno::NOENT, opened_as("", OFlags::RDONLY))
}

fn a_file_is_no_folder_on_the_way() -> Held {
    file("f")?;
    fails(Errno::NOTDIR, opened_as("f/x", OFlags::RDONLY))?;
    fails(Errno::NOTDIR, open("f/x", NEW, bits(0o644)))
}

fn a_file_with_a_slash_behind_it_is_refused() -> Held {
    file("f")?;
    fails(Errno::NOTDIR, opened_as("f/", OFlags::RDONLY))?;
    fails(Errno::ISDIR, open("new/", NEW, bits(0o644)))
}

fn a_file_made_without_rights_is_written_by_who_made_it() -> Held {
    folder("d")?;
    allow("d", 0o777)?;
    as_user(ANNA, || {
        let made = open("d/f", NEW | OFlags::EXCL, bits(0o000))?;
        write(&made, b"x")?;
        fails(Errno::ACCESS, opened_as("d/f", OFlags::RDONLY))
    })?;
    mode_is("d/f", 0)?;
    equal(text("d/f")?.as_str(), "x")
}

fn an_unnamed_file_gets_a_name_later() -> Held {
    folder("d")?;
    let unnamed = open("d", OFlags::RDWR | OFlags::TMPFILE, bits(0o640))?;
    equal(fstat(&unnamed)?.st_nlink, 0)?;
    write(&unnamed, b"late")?;
    linkat(&unnamed, "", CWD, "d/f", AtFlags::EMPTY_PATH)?;
    equal(fstat(&unnamed)?.st_nlink, 1)?;
    mode_is("d/f", 0o640)?;
    equal(text("d/f")?.as_str(), "late")
}

fn an_unnamed_file_without_a_name_leaves_nothing() -> Held {
    folder("d")?;
    drop(open("d", OFlags::RDWR | OFlags::TMPFILE, bits(0o600))?);
    let exclusive = open("d", OFlags::RDWR | OFlags::TMPFILE | OFlags::EXCL, bits(0o600))?;
    fails(Errno::NOENT, linkat(&exclusive, "", CWD, "d/f", AtFlags::EMPTY_PATH))?;
    Ok(rustix::fs::rmdir("d")?)
}

fn opened_as(path: &str, flags: OFlags) -> rustix::io::Result<std::os::fd::OwnedFd> {
    open(path, flags, Mode::empty())
}
