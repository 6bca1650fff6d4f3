//! Lists: what stays in a folder while it is listed is listed once, and nothing that is not there.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fs::{CWD, Dir, FileType, OFlags, SeekFrom, mknodat, rename, seek, stat, symlink, unlink};
use rustix::io::Errno;

use crate::case::{Held, Wrong, cases, equal, fails, holds};
use crate::scene::{bits, file, folder, opened};

cases!("lists":
    an_empty_folder_has_dots_only,
    two_thousand_are_listed_once_each,
    long_names_are_listed_once_each,
    kinds_and_numbers_are_those_of_stat,
    again_from_the_start,
    from_a_remembered_position,
    removing_what_was_listed_loses_nothing,
    removing_in_rounds_empties,
    what_stays_while_others_come_and_go_is_listed,
    renaming_what_is_listed_ends,
    a_folder_listed_twice_at_once,
    what_is_new_is_listed_after_a_rewind,
    of_a_file_is_refused,
);

fn listing(path: &str) -> Result<Dir, Wrong> {
    Ok(Dir::new(opened(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?)
}

/// The next name but the dots; `None` at the end.
fn next(dir: &mut Dir) -> Result<Option<String>, Wrong> {
    loop {
        match dir.read().transpose()? {
            None => return Ok(None),
            Some(entry) if [&b"."[..], b".."].contains(&entry.file_name().to_bytes()) => {}
            Some(entry) => return Ok(Some(entry.file_name().to_str()?.to_owned())),
        }
    }
}

fn rest(dir: &mut Dir) -> Result<Vec<String>, Wrong> {
    let mut names = Vec::new();
    while let Some(name) = next(dir)? {
        names.push(name);
    }
    Ok(names)
}

fn fill(count: usize, name: impl Fn(usize) -> String) -> Result<BTreeSet<String>, Wrong> {
    folder("d")?;
    (0..count).map(|at| file(&format!("d/{}", name(at))).map(|()| name(at))).collect()
}

/// These, each once.
fn are(got: Vec<String>, wanted: &BTreeSet<String>) -> Held {
    equal(got.len(), wanted.len())?;
    holds(got.into_iter().collect::<BTreeSet<_>>() == *wanted, "they are those")
}

fn an_empty_folder_has_dots_only() -> Held {
    folder("d")?;
    let mut names: Vec<_> = Vec::new();
    for entry in listing("d")? {
        let entry = entry?;
        names.push((entry.file_name().to_bytes().to_vec(), entry.ino()));
    }
    names.sort_unstable();
    equal(names, vec![(b".".to_vec(), stat("d")?.st_ino), (b"..".to_vec(), stat(".")?.st_ino)])
}

fn two_thousand_are_listed_once_each() -> Held {
    let wanted = fill(2000, |at| format!("entry-{at}"))?;
    are(rest(&mut listing("d")?)?, &wanted)
}

fn long_names_are_listed_once_each() -> Held {
    let wanted = fill(300, |at| format!("{at:03}{}", "x".repeat(at % 253)))?;
    are(rest(&mut listing("d")?)?, &wanted)
}

fn kinds_and_numbers_are_those_of_stat() -> Held {
    file("f")?;
    folder("d")?;
    symlink("f", "l")?;
    mknodat(CWD, "p", FileType::Fifo, bits(0o644), 0)?;
    let mut kinds = BTreeMap::new();
    for entry in listing(".")? {
        let entry = entry?;
        let name = entry.file_name().to_str()?.to_owned();
        equal(entry.ino(), rustix::fs::lstat(name.as_str())?.st_ino)?;
        kinds.insert(name, entry.file_type());
    }
    let kinds: Vec<_> = ["f", "d", "l", "p"].map(|name| kinds.get(name).copied()).into();
    equal(kinds, [FileType::RegularFile, FileType::Directory, FileType::Symlink, FileType::Fifo].map(Some).into())
}

fn again_from_the_start() -> Held {
    let wanted = fill(500, |at| at.to_string())?;
    let mut dir = listing("d")?;
    for _ in 0..100 {
        next(&mut dir)?;
    }
    dir.rewind();
    are(rest(&mut dir)?, &wanted)?;
    dir.rewind();
    are(rest(&mut dir)?, &wanted)
}

fn from_a_remembered_position() -> Held {
    fill(700, |at| format!("{at:0>40}"))?;
    let mut dir = listing("d")?;
    let mut entries = Vec::new();
    while let Some(entry) = dir.read().transpose()? {
        entries.push((entry.file_name().to_owned(), entry.offset()));
    }
    for at in [0, 1, 50, 333, 600, 700, 5] {
        dir.seek(entries[at].1)?;
        let got = dir.read().transpose()?.map(|entry| entry.file_name().to_owned());
        equal(got, entries.get(at + 1).map(|entry| entry.0.clone()))?;
    }
    Ok(())
}

fn removing_what_was_listed_loses_nothing() -> Held {
    let wanted = fill(1500, |at| format!("entry-{at}"))?;
    let (mut dir, mut seen) = (listing("d")?, Vec::new());
    while let Some(name) = next(&mut dir)? {
        unlink(format!("d/{name}").as_str())?;
        seen.push(name);
    }
    are(seen, &wanted)?;
    Ok(rustix::fs::rmdir("d")?)
}

fn removing_in_rounds_empties() -> Held {
    fill(600, |at| format!("entry-{at}"))?;
    for _ in 0..7 {
        let mut dir = listing("d")?;
        for _ in 0..100 {
            if let Some(name) = next(&mut dir)? {
                unlink(format!("d/{name}").as_str())?;
            }
        }
    }
    Ok(rustix::fs::rmdir("d")?)
}

fn what_stays_while_others_come_and_go_is_listed() -> Held {
    let stays = fill(800, |at| format!("stays-{at}"))?;
    let (mut dir, mut seen, mut turn) = (listing("d")?, Vec::new(), 0);
    while let Some(name) = next(&mut dir)? {
        if turn < 400 {
            file(&format!("d/new-{turn}"))?;
        }
        if (50..450).contains(&turn) {
            unlink(format!("d/new-{}", turn - 50).as_str())?;
        }
        turn += 1;
        if name.starts_with("stays") {
            seen.push(name);
        }
    }
    are(seen, &stays)
}

fn renaming_what_is_listed_ends() -> Held {
    fill(300, |at| format!("old-{at}"))?;
    let (mut dir, mut turns) = (listing("d")?, 0);
    while let Some(name) = next(&mut dir)? {
        turns += 1;
        holds(turns < 5000, "it comes to an end")?;
        if let Some(at) = name.strip_prefix("old-") {
            rename(format!("d/{name}").as_str(), format!("d/new-{at}").as_str())?;
        }
    }
    let names = rest(&mut listing("d")?)?;
    equal(names.len(), 300)?;
    holds(names.iter().all(|name| name.starts_with("new-")), "all have new names")
}

fn a_folder_listed_twice_at_once() -> Held {
    let wanted = fill(900, |at| format!("entry-{at}"))?;
    let (mut one, mut other) = (listing("d")?, listing("d")?);
    let (mut by_one, mut by_other) = (Vec::new(), Vec::new());
    for _ in 0..450 {
        by_one.extend(next(&mut one)?);
        by_one.extend(next(&mut one)?);
        by_other.extend(next(&mut other)?);
    }
    by_one.extend(rest(&mut one)?);
    by_other.extend(rest(&mut other)?);
    are(by_one, &wanted)?;
    are(by_other, &wanted)
}

fn what_is_new_is_listed_after_a_rewind() -> Held {
    folder("d")?;
    let held = opened("d", OFlags::RDONLY)?;
    let mut dir = Dir::read_from(&held)?;
    equal(rest(&mut dir)?.len(), 0)?;
    file("d/new")?;
    dir.rewind();
    equal(rest(&mut dir)?, vec!["new".to_owned()])?;
    unlink("d/new")?;
    seek(&held, SeekFrom::Start(0))?;
    equal(rest(&mut Dir::read_from(&held)?)?.len(), 0)
}

fn of_a_file_is_refused() -> Held {
    file("f")?;
    fails(
        Errno::NOTDIR,
        Dir::read_from(opened("f", OFlags::RDONLY)?).and_then(|mut dir| dir.read().transpose().map(drop)),
    )
}
