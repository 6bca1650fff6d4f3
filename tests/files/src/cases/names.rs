//! Names: any bytes but NUL and the slash, up to 255 of them, and paths up to 4095.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{link, lstat, mkdir, rename, stat, symlink, unlink};
use rustix::io::Errno;

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{bits, file, folder, is_there, put, text};

cases!("names":
    of_255_bytes_are_the_longest,
    of_256_bytes_are_refused_by_every_call,
    paths_of_4095_bytes_are_the_longest,
    of_every_byte,
    that_are_no_text,
    that_other_systems_refuse,
    with_newlines_and_spaces_are_listed_as_they_are,
    differ_by_case,
    differ_by_composition,
    with_many_dots_are_names,
);

fn of_255_bytes_are_the_longest() -> Held {
    let name = "n".repeat(255);
    put(&name, "x")?;
    equal(text(&name)?.as_str(), "x")?;
    let wide = "é".repeat(127);
    rename(name.as_str(), wide.as_str())?;
    equal(listed()?, vec![wide.clone().into_bytes()])?;
    unlink(wide.as_str())?;
    mkdir(name.as_str(), bits(0o755))?;
    symlink(name.as_str(), "l".repeat(255).as_str())?;
    equal(listed()?.len(), 2)
}

fn of_256_bytes_are_refused_by_every_call() -> Held {
    let name = "n".repeat(256);
    let name = name.as_str();
    file("f")?;
    fails(Errno::NAMETOOLONG, stat(name))?;
    fails(Errno::NAMETOOLONG, rustix::fs::open(name, rustix::fs::OFlags::CREATE, bits(0o644)))?;
    fails(Errno::NAMETOOLONG, mkdir(name, bits(0o755)))?;
    fails(Errno::NAMETOOLONG, symlink("x", name))?;
    fails(Errno::NAMETOOLONG, link("f", name))?;
    fails(Errno::NAMETOOLONG, rename("f", name))?;
    fails(Errno::NAMETOOLONG, rename(name, "g"))?;
    fails(Errno::NAMETOOLONG, unlink(name))?;
    fails(Errno::NAMETOOLONG, rustix::fs::rmdir(name))?;
    fails(Errno::NAMETOOLONG, rustix::fs::mknodat(rustix::fs::CWD, name, rustix::fs::FileType::Fifo, bits(0o644), 0))
}

fn paths_of_4095_bytes_are_the_longest() -> Held {
    file("f")?;
    let long = format!("{}f", "./".repeat(2047));
    equal(long.len(), 4095)?;
    stat(long.as_str())?;
    fails(Errno::NAMETOOLONG, stat(format!("/{long}").as_str()))
}

fn of_every_byte() -> Held {
    for byte in (1..=255).filter(|byte| !b"/.".contains(byte)) {
        let name = [byte];
        std::fs::write(OsStr::from_bytes(&name), name)?;
    }
    let mut all = listed()?;
    all.sort_unstable();
    equal(all.len(), 253)?;
    for name in all {
        equal(std::fs::read(OsStr::from_bytes(&name))?, name)?;
    }
    Ok(())
}

fn that_are_no_text() -> Held {
    for name in [&b"\xff\xfe"[..], b"a\x80b", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"] {
        std::fs::create_dir(OsStr::from_bytes(name))?;
        equal(listed()?, vec![name.to_vec()])?;
        std::fs::remove_dir(OsStr::from_bytes(name))?;
    }
    Ok(())
}

fn that_other_systems_refuse() -> Held {
    let names =
        ["a:b", "a\\b", "a*?", "<>|\"", "con", "nul.txt", "ends.", "ends ", " begins", "-rf", "~", "$x", "a\u{f03a}b"];
    for name in names {
        put(name, name)?;
    }
    for name in names {
        equal(text(name)?.as_str(), name)?;
    }
    equal(listed()?.len(), names.len())
}

fn with_newlines_and_spaces_are_listed_as_they_are() -> Held {
    let name = " a\nb\r\n\tc ";
    folder(name)?;
    file(&format!("{name}/\n"))?;
    equal(listed()?, vec![name.as_bytes().to_vec()])?;
    holds(is_there(&format!("{name}/\n")), "what is in it is found")
}

fn differ_by_case() -> Held {
    put("name", "small")?;
    put("Name", "large")?;
    equal(text("name")?.as_str(), "small")?;
    fails(Errno::NOENT, unlink("NAME"))?;
    equal(listed()?.len(), 2)
}

fn differ_by_composition() -> Held {
    put("\u{e9}", "one")?;
    put("e\u{301}", "two")?;
    equal(text("\u{e9}")?.as_str(), "one")?;
    equal(listed()?.len(), 2)
}

fn with_many_dots_are_names() -> Held {
    for name in ["...", "....", ".hidden", "..x", ". ", "a.", "a..b"] {
        put(name, name)?;
        equal(lstat(name)?.st_size.cast_unsigned(), name.len() as u64)?;
    }
    equal(listed()?.len(), 7)
}

fn listed() -> Result<Vec<Vec<u8>>, crate::case::Wrong> {
    let names: Result<Vec<_>, std::io::Error> =
        std::fs::read_dir(".")?.map(|entry| Ok(entry?.file_name().as_bytes().to_vec())).collect();
    Ok(names?)
}
