//! Access: what another user may do, by the bits for the owner, for the group and for the rest.

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat, link, mkdir, open, rename, rmdir, stat, symlink, unlink};
use rustix::io::Errno;

use crate::case::{Held, cases, equal, fails};
use crate::scene::{allow, bits, file, folder, give, put, text};
use crate::sys::child::{ANNA, BERT, User, as_user, as_user_in};

cases!("access":
    the_first_class_that_fits_decides,
    a_further_group_counts,
    root_reads_and_writes_all_and_executes_what_someone_may,
    looking_something_up_wants_execution_all_the_way,
    listing_wants_reading,
    making_and_removing_want_writing_to_the_folder,
    removing_wants_nothing_of_the_file,
    renaming_wants_both_folders,
    moving_a_folder_wants_writing_to_it,
    is_checked_at_open_only,
    truncating_wants_writing,
    a_program_is_executed_or_is_not,
);

/// Whether someone may read, write and execute `f`.
fn rights(user: User, groups: &[u32], wanted: [bool; 3]) -> Held {
    as_user_in(user, groups, || {
        for (asked, wanted) in [Access::READ_OK, Access::WRITE_OK, Access::EXEC_OK].into_iter().zip(wanted) {
            let got = accessat(CWD, "f", asked, AtFlags::empty());
            equal(got, if wanted { Ok(()) } else { Err(Errno::ACCESS) })?;
        }
        let open = |flags| open("f", flags, bits(0)).map(drop);
        equal(open(OFlags::RDONLY).is_ok(), wanted[0])?;
        equal(open(OFlags::WRONLY).is_ok(), wanted[1])?;
        equal(open(OFlags::RDWR).is_ok(), wanted[0] && wanted[1])
    })
}

fn the_first_class_that_fits_decides() -> Held {
    file("f")?;
    give("f", ANNA.0, BERT.0)?;
    allow("f", 0o421)?;
    rights(ANNA, &[BERT.0], [true, false, false])?;
    rights(BERT, &[], [false, true, false])?;
    rights(User(2003), &[], [false, false, true])?;
    allow("f", 0o077)?;
    rights(ANNA, &[BERT.0], [false, false, false])?;
    allow("f", 0o707)?;
    rights(BERT, &[], [false, false, false])
}

fn a_further_group_counts() -> Held {
    file("f")?;
    give("f", 0, 3000)?;
    allow("f", 0o060)?;
    rights(ANNA, &[2999, 3000], [true, true, false])?;
    rights(ANNA, &[2999], [false, false, false])
}

fn root_reads_and_writes_all_and_executes_what_someone_may() -> Held {
    put("f", "x")?;
    give("f", ANNA.0, ANNA.0)?;
    allow("f", 0)?;
    equal(text("f")?.as_str(), "x")?;
    put("f", "y")?;
    fails(Errno::ACCESS, accessat(CWD, "f", Access::EXEC_OK, AtFlags::empty()))?;
    allow("f", 0o010)?;
    Ok(accessat(CWD, "f", Access::EXEC_OK, AtFlags::empty())?)
}

fn looking_something_up_wants_execution_all_the_way() -> Held {
    folder("d")?;
    folder("d/e")?;
    file("d/e/f")?;
    allow("d", 0o744)?;
    as_user(ANNA, || {
        fails(Errno::ACCESS, stat("d/e/f"))?;
        fails(Errno::ACCESS, stat("d/nothing"))?;
        fails(Errno::ACCESS, stat("d/e/../.."))
    })?;
    allow("d", 0o711)?;
    as_user(ANNA, || {
        stat("d/e/f")?;
        fails(Errno::NOENT, stat("d/nothing"))
    })
}

fn listing_wants_reading() -> Held {
    folder("d")?;
    allow("d", 0o711)?;
    as_user(ANNA, || fails(Errno::ACCESS, open("d", OFlags::RDONLY, bits(0))))?;
    allow("d", 0o744)?;
    file("d/f")?;
    as_user(ANNA, || {
        equal(std::fs::read_dir("d")?.count(), 1)?;
        fails(Errno::ACCESS, open("d/f", OFlags::RDONLY, bits(0)))
    })
}

fn making_and_removing_want_writing_to_the_folder() -> Held {
    folder("d")?;
    file("d/f")?;
    folder("d/e")?;
    as_user(ANNA, || {
        fails(Errno::ACCESS, open("d/g", OFlags::CREATE | OFlags::WRONLY, bits(0o644)))?;
        fails(Errno::ACCESS, mkdir("d/g", bits(0o755)))?;
        fails(Errno::ACCESS, symlink("x", "d/g"))?;
        fails(Errno::ACCESS, unlink("d/f"))?;
        fails(Errno::ACCESS, rmdir("d/e"))?;
        fails(Errno::EXIST, mkdir("d/e", bits(0o755)))
    })
}

fn removing_wants_nothing_of_the_file() -> Held {
    folder("d")?;
    allow("d", 0o777)?;
    file("d/f")?;
    allow("d/f", 0)?;
    as_user(ANNA, || Ok(unlink("d/f")?))
}

fn renaming_wants_both_folders() -> Held {
    folder("d")?;
    folder("e")?;
    file("d/f")?;
    for (d, e) in [(0o777, 0o755), (0o755, 0o777)] {
        allow("d", d)?;
        allow("e", e)?;
        as_user(ANNA, || fails(Errno::ACCESS, rename("d/f", "e/f")))?;
    }
    allow("d", 0o777)?;
    as_user(ANNA, || {
        file("d/own")?;
        link("d/own", "e/own")?;
        Ok(rename("d/f", "e/f")?)
    })
}

fn moving_a_folder_wants_writing_to_it() -> Held {
    for name in ["d", "e", "d/sub"] {
        folder(name)?;
        allow(name, 0o777)?;
    }
    allow("d/sub", 0o555)?;
    as_user(ANNA, || {
        fails(Errno::ACCESS, rename("d/sub", "e/sub"))?;
        Ok(rename("d/sub", "d/other")?)
    })
}

fn is_checked_at_open_only() -> Held {
    put("f", "x")?;
    allow("f", 0o666)?;
    let open = crate::scene::opened("f", OFlags::RDWR)?;
    allow("f", 0)?;
    as_user(ANNA, || {
        equal(rustix::io::pread(&open, &mut [0; 1], 0)?, 1)?;
        equal(rustix::io::pwrite(&open, b"z", 0)?, 1)?;
        rustix::fs::ftruncate(&open, 5)?;
        fails(Errno::ACCESS, rustix::fs::open("f", OFlags::RDONLY, bits(0)))
    })
}

fn truncating_wants_writing() -> Held {
    put("f", "content")?;
    allow("f", 0o644)?;
    as_user(ANNA, || {
        fails(Errno::ACCESS, crate::sys::odd::truncate("f", 0))?;
        fails(Errno::ACCESS, open("f", OFlags::RDONLY | OFlags::TRUNC, bits(0)))?;
        fails(Errno::INVAL, rustix::fs::ftruncate(open("f", OFlags::RDONLY, bits(0))?, 0))
    })?;
    equal(text("f")?.as_str(), "content")
}

fn a_program_is_executed_or_is_not() -> Held {
    put("f", "#!/bin/sh\nexit 7\n")?;
    let run = || std::process::Command::new("./f").status();
    equal(run().map_err(|error| error.kind()), Err(std::io::ErrorKind::PermissionDenied))?;
    allow("f", 0o755)?;
    equal(run()?.code(), Some(7))?;
    allow("f", 0o700)?;
    as_user(BERT, || fails(Errno::ACCESS, accessat(CWD, "f", Access::EXEC_OK, AtFlags::empty())))
}
