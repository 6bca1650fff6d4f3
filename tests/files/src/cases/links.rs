//! Links: second names of files, and paths kept as files.

use rustix::fs::{AtFlags, CWD, FileType, link, linkat, lstat, readlink, stat, statat, symlink, unlink};
use rustix::io::Errno;

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{allow, changed, file, folder, give, is_there, mode_is, owner_is, put, text, tick};
use crate::sys::child::{ANNA, as_user};

cases!("links":
    a_second_name_is_the_same_file,
    a_name_less_leaves_the_others,
    counting_links_changes_ctime,
    a_second_name_over_something_is_refused,
    a_second_name_of_a_folder_is_refused,
    a_second_name_of_nothing_is_refused,
    a_second_name_of_a_symbolic_link_is_of_the_link,
    a_second_name_across_folders,
    symbolic_says_what_it_was_given,
    symbolic_length_and_mode,
    symbolic_of_nothing_is_refused,
    symbolic_up_to_the_longest_path,
    symbolic_over_something_is_refused,
    symbolic_leads_through_folders,
    symbolic_in_a_circle_is_refused,
    forty_symbolic_links_in_a_row_lead_on_and_more_do_not,
    removing_symbolic_leaves_its_target,
    reading_what_is_no_link_is_refused,
    a_link_belongs_to_who_made_it_and_is_given_by_itself,
);

fn a_second_name_is_the_same_file() -> Held {
    put("a", "one")?;
    link("a", "b")?;
    equal(stat("a")?.st_ino, stat("b")?.st_ino)?;
    equal((stat("a")?.st_nlink, stat("b")?.st_nlink), (2, 2))?;
    put("b", "two")?;
    equal(text("a")?.as_str(), "two")?;
    allow("a", 0o600)?;
    mode_is("b", 0o600)
}

fn a_name_less_leaves_the_others() -> Held {
    put("a", "x")?;
    link("a", "b")?;
    unlink("a")?;
    fails(Errno::NOENT, stat("a"))?;
    equal(stat("b")?.st_nlink, 1)?;
    equal(text("b")?.as_str(), "x")
}

fn counting_links_changes_ctime() -> Held {
    file("a")?;
    let before = changed("a")?;
    tick();
    link("a", "b")?;
    let between = changed("a")?;
    holds(between > before, "a link more changes ctime")?;
    tick();
    unlink("b")?;
    holds(changed("a")? > between, "a link less changes ctime")
}

fn a_second_name_over_something_is_refused() -> Held {
    file("a")?;
    file("b")?;
    folder("d")?;
    for name in ["a", "b", "d"] {
        fails(Errno::EXIST, link("a", name))?;
    }
    equal(stat("a")?.st_nlink, 1)
}

fn a_second_name_of_a_folder_is_refused() -> Held {
    folder("d")?;
    fails(Errno::PERM, link("d", "e"))
}

fn a_second_name_of_nothing_is_refused() -> Held {
    file("a")?;
    fails(Errno::NOENT, link("nothing", "b"))?;
    fails(Errno::NOENT, link("a", "d/b"))?;
    fails(Errno::NOTDIR, link("a", "a/b"))
}

fn a_second_name_of_a_symbolic_link_is_of_the_link() -> Held {
    file("a")?;
    symlink("a", "l")?;
    link("l", "m")?;
    equal(lstat("m")?.st_ino, lstat("l")?.st_ino)?;
    linkat(CWD, "l", CWD, "b", AtFlags::SYMLINK_FOLLOW)?;
    equal(lstat("b")?.st_ino, stat("a")?.st_ino)
}

fn a_second_name_across_folders() -> Held {
    folder("d")?;
    folder("e")?;
    put("d/a", "x")?;
    link("d/a", "e/b")?;
    unlink("d/a")?;
    equal(text("e/b")?.as_str(), "x")
}

fn symbolic_says_what_it_was_given() -> Held {
    for (name, target) in
        [("a", "nowhere"), ("b", "/abs/../olute"), ("c", "../../out"), ("d", "sp ace\nline"), ("e", "/")]
    {
        symlink(target, name)?;
        equal(target_of(name)?.as_str(), target)?;
    }
    fails(Errno::NOENT, stat("a"))
}

fn symbolic_length_and_mode() -> Held {
    symlink("seven77", "l")?;
    let stat = lstat("l")?;
    equal(FileType::from_raw_mode(stat.st_mode), FileType::Symlink)?;
    equal(stat.st_size, 7)?;
    mode_is("l", 0o777)
}

fn symbolic_of_nothing_is_refused() -> Held {
    fails(Errno::NOENT, symlink("", "l"))
}

fn symbolic_up_to_the_longest_path() -> Held {
    let longest = "x".repeat(4095);
    symlink(longest.as_str(), "l")?;
    equal(target_of("l")?, longest)?;
    fails(Errno::NAMETOOLONG, symlink("x".repeat(4096).as_str(), "m"))
}

fn symbolic_over_something_is_refused() -> Held {
    file("f")?;
    folder("d")?;
    symlink("f", "l")?;
    for name in ["f", "d", "l"] {
        fails(Errno::EXIST, symlink("x", name))?;
    }
    equal(target_of("l")?.as_str(), "f")
}

fn symbolic_leads_through_folders() -> Held {
    folder("d")?;
    folder("d/e")?;
    put("d/f", "x")?;
    symlink("../f", "d/e/up")?;
    symlink("d/e", "l")?;
    equal(text("l/up")?.as_str(), "x")?;
    equal(text("l/../f")?.as_str(), "x")
}

fn symbolic_in_a_circle_is_refused() -> Held {
    symlink("b", "a")?;
    symlink("a", "b")?;
    symlink("self", "self")?;
    fails(Errno::LOOP, stat("a"))?;
    fails(Errno::LOOP, stat("self"))?;
    fails(Errno::LOOP, stat("self/x"))?;
    equal(lstat("a")?.st_size, 1)
}

fn forty_symbolic_links_in_a_row_lead_on_and_more_do_not() -> Held {
    put("0", "end")?;
    for next in 1..=41 {
        symlink((next - 1).to_string().as_str(), next.to_string().as_str())?;
    }
    equal(text("40")?.as_str(), "end")?;
    fails(Errno::LOOP, stat("41"))
}

fn removing_symbolic_leaves_its_target() -> Held {
    put("f", "x")?;
    folder("d")?;
    symlink("f", "l")?;
    symlink("d", "m")?;
    unlink("l")?;
    unlink("m")?;
    holds(!is_there("l") && !is_there("m") && is_there("d"), "links are gone, the folder stays")?;
    equal(text("f")?.as_str(), "x")
}

fn reading_what_is_no_link_is_refused() -> Held {
    file("f")?;
    folder("d")?;
    fails(Errno::INVAL, readlink("f", Vec::new()))?;
    fails(Errno::INVAL, readlink("d", Vec::new()))?;
    fails(Errno::NOENT, readlink("nothing", Vec::new()))
}

fn a_link_belongs_to_who_made_it_and_is_given_by_itself() -> Held {
    allow(".", 0o777)?;
    file("f")?;
    as_user(ANNA, || Ok(symlink("f", "l")?))?;
    owner_is("l", ANNA.0, ANNA.0)?;
    give("l", 7, 8)?;
    owner_is("l", 7, 8)?;
    owner_is("f", 0, 0)?;
    equal(statat(CWD, "l", AtFlags::empty())?.st_uid, 0)
}

fn target_of(path: &str) -> Result<String, Wrong> {
    Ok(readlink(path, Vec::new())?.into_string()?)
}
