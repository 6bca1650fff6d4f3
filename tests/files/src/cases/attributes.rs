//! Attributes: values under names of the user's choice, kept with the file and not with its name.

use std::collections::BTreeSet;

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr, link, listxattr, removexattr,
    rename, setxattr, symlink, unlink,
};
use rustix::io::Errno;

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{allow, changed, file, folder, give, made, mode_is, tick};
use crate::sys::child::{ANNA, as_user};

cases!("attributes":
    are_what_they_were_set_to,
    are_replaced_by_longer_and_shorter_ones,
    create_and_replace_say_what_must_be,
    that_are_not_there,
    are_listed_by_name,
    ask_for_enough_room,
    by_descriptor_also_without_a_name,
    stay_with_the_file,
    of_folders_and_through_links,
    of_links_and_of_others_are_refused,
    names_without_a_known_prefix_are_refused,
    names_and_values_that_are_too_long,
    want_the_rights_of_content,
    trusted_ones_are_roots_or_nobodys,
    change_ctime,
);

const ANY: XattrFlags = XattrFlags::empty();

fn value(path: &str, name: &str) -> rustix::io::Result<Vec<u8>> {
    let mut space = vec![0; 4096];
    let len = getxattr(path, name, &mut space[..])?;
    space.truncate(len);
    Ok(space)
}

/// Those of users.
fn names(path: &str) -> Result<BTreeSet<String>, Wrong> {
    let mut space = vec![0_u8; 8192];
    let len = listxattr(path, &mut space[..])?;
    let names = String::from_utf8(space[..len].to_vec())?;
    Ok(names.split_terminator('\0').filter(|name| name.starts_with("user.")).map(str::to_owned).collect())
}

fn are_what_they_were_set_to() -> Held {
    file("f")?;
    for (name, content) in
        [("user.a", &b"value"[..]), ("user.b", b"\0\xff\n\0"), ("user.empty", b""), ("user.é x", b"x")]
    {
        setxattr("f", name, content, ANY)?;
        equal(value("f", name)?, content.to_vec())?;
    }
    Ok(())
}

fn are_replaced_by_longer_and_shorter_ones() -> Held {
    file("f")?;
    for len in [1, 1000, 7, 0, 300] {
        setxattr("f", "user.a", &vec![b'x'; len], ANY)?;
        equal(value("f", "user.a")?, vec![b'x'; len])?;
    }
    equal(names("f")?.len(), 1)
}

fn create_and_replace_say_what_must_be() -> Held {
    file("f")?;
    fails(Errno::NODATA, setxattr("f", "user.a", b"1", XattrFlags::REPLACE))?;
    setxattr("f", "user.a", b"2", XattrFlags::CREATE)?;
    fails(Errno::EXIST, setxattr("f", "user.a", b"3", XattrFlags::CREATE))?;
    equal(value("f", "user.a")?, b"2".to_vec())?;
    setxattr("f", "user.a", b"4", XattrFlags::REPLACE)?;
    equal(value("f", "user.a")?, b"4".to_vec())
}

fn that_are_not_there() -> Held {
    file("f")?;
    fails(Errno::NODATA, value("f", "user.a"))?;
    fails(Errno::NODATA, removexattr("f", "user.a"))?;
    fails(Errno::NOENT, value("nothing", "user.a"))?;
    setxattr("f", "user.a", b"x", ANY)?;
    removexattr("f", "user.a")?;
    fails(Errno::NODATA, value("f", "user.a"))
}

fn are_listed_by_name() -> Held {
    file("f")?;
    equal(names("f")?.len(), 0)?;
    let wanted: BTreeSet<_> = (0..40).map(|at| format!("user.name-{at}")).collect();
    for name in &wanted {
        setxattr("f", name.as_str(), b"x", ANY)?;
    }
    holds(names("f")? == wanted, "all are listed")?;
    removexattr("f", "user.name-7")?;
    equal(names("f")?.len(), 39)
}

fn ask_for_enough_room() -> Held {
    file("f")?;
    setxattr("f", "user.a", b"0123456789", ANY)?;
    equal(rustix::fs::getxattr_query("f", "user.a")?, 10)?;
    fails(Errno::RANGE, getxattr("f", "user.a", &mut [0_u8; 9]))?;
    equal(getxattr("f", "user.a", &mut [0_u8; 10])?, 10)?;
    holds(rustix::fs::listxattr_query("f")? >= 7, "the list's length is told")?;
    fails(Errno::RANGE, listxattr("f", &mut [0_u8; 3]))
}

fn by_descriptor_also_without_a_name() -> Held {
    let made = made("f")?;
    fsetxattr(&made, "user.a", b"x", ANY)?;
    equal(value("f", "user.a")?, b"x".to_vec())?;
    unlink("f")?;
    equal(fgetxattr(&made, "user.a", &mut [0_u8; 9])?, 1)?;
    fsetxattr(&made, "user.b", b"y", ANY)?;
    fremovexattr(&made, "user.a")?;
    fails(Errno::NODATA, fgetxattr(&made, "user.a", &mut [0_u8; 9]))?;
    holds(flistxattr(&made, &mut [0_u8; 4096])? >= 7, "one is left")
}

fn stay_with_the_file() -> Held {
    file("f")?;
    setxattr("f", "user.a", b"x", ANY)?;
    link("f", "g")?;
    rename("f", "h")?;
    equal((value("g", "user.a")?, value("h", "user.a")?), (b"x".to_vec(), b"x".to_vec()))?;
    file("new")?;
    rename("new", "h")?;
    fails(Errno::NODATA, value("h", "user.a"))
}

fn of_folders_and_through_links() -> Held {
    folder("d")?;
    symlink("d", "l")?;
    setxattr("l", "user.a", b"x", ANY)?;
    equal(value("d", "user.a")?, b"x".to_vec())?;
    equal(names("d")?.len(), 1)
}

fn of_links_and_of_others_are_refused() -> Held {
    symlink("nowhere", "l")?;
    fails(Errno::PERM, rustix::fs::lsetxattr("l", "user.a", b"x", ANY))?;
    fails(Errno::NODATA, lgetxattr("l", "user.a", &mut [0_u8; 9]))?;
    rustix::fs::mknodat(rustix::fs::CWD, "p", rustix::fs::FileType::Fifo, crate::scene::bits(0o644), 0)?;
    fails(Errno::PERM, setxattr("p", "user.a", b"x", ANY))
}

fn names_without_a_known_prefix_are_refused() -> Held {
    file("f")?;
    for name in ["a", "nothing.a", "use.a"] {
        fails(Errno::OPNOTSUPP, setxattr("f", name, b"x", ANY))?;
        fails(Errno::OPNOTSUPP, value("f", name))?;
    }
    fails(Errno::INVAL, setxattr("f", "user.", b"x", ANY))?;
    fails(Errno::RANGE, setxattr("f", "", b"x", ANY))
}

fn names_and_values_that_are_too_long() -> Held {
    file("f")?;
    let longest = format!("user.{}", "n".repeat(250));
    setxattr("f", longest.as_str(), b"x", ANY)?;
    equal(names("f")?, BTreeSet::from([longest.clone()]))?;
    fails(Errno::RANGE, setxattr("f", format!("{longest}n").as_str(), b"x", ANY))?;
    fails(Errno::TOOBIG, setxattr("f", "user.a", &vec![0; 65_537], ANY))
}

fn want_the_rights_of_content() -> Held {
    file("f")?;
    setxattr("f", "user.a", b"x", ANY)?;
    allow("f", 0o644)?;
    as_user(ANNA, || {
        equal(value("f", "user.a")?, b"x".to_vec())?;
        fails(Errno::ACCESS, setxattr("f", "user.a", b"y", ANY))?;
        fails(Errno::ACCESS, removexattr("f", "user.a"))
    })?;
    allow("f", 0o600)?;
    as_user(ANNA, || fails(Errno::ACCESS, value("f", "user.a")))?;
    give("f", ANNA.0, ANNA.0)?;
    as_user(ANNA, || Ok(setxattr("f", "user.a", b"z", ANY)?))?;
    mode_is("f", 0o600)
}

/// A file system may know none of them, as one that is shared with a host does not; what users may do is the same.
fn trusted_ones_are_roots_or_nobodys() -> Held {
    file("f")?;
    allow("f", 0o666)?;
    match setxattr("f", "trusted.a", b"x", ANY) {
        Ok(()) => equal(value("f", "trusted.a")?, b"x".to_vec())?,
        Err(Errno::OPNOTSUPP) => fails(Errno::OPNOTSUPP, value("f", "trusted.a"))?,
        Err(error) => return Err(error.into()),
    }
    as_user(ANNA, || {
        fails(Errno::NODATA, value("f", "trusted.a"))?;
        fails(Errno::PERM, setxattr("f", "trusted.a", b"x", ANY))
    })
}

fn change_ctime() -> Held {
    file("f")?;
    let before = changed("f")?;
    tick();
    setxattr("f", "user.a", b"x", ANY)?;
    let between = changed("f")?;
    holds(between > before, "setting one changes ctime")?;
    tick();
    removexattr("f", "user.a")?;
    holds(changed("f")? > between, "removing one changes ctime")
}
