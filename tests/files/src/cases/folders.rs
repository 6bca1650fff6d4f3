//! Folders: made, removed, and counted by those who are in them.

use rustix::fs::{FileType, lstat, mkdir, rmdir, stat, symlink, unlink};
use rustix::io::Errno;

use crate::case::{Held, cases, equal, fails, holds};
use crate::scene::{bits, changed, file, folder, is_there, mode_is, modified, owner_is, put, tick};
use crate::sys::child::{ANNA, as_user};

cases!("folders":
    made_with_the_mode_less_the_umask,
    made_where_something_is_is_refused,
    made_under_nothing_or_under_a_file_is_refused,
    made_with_a_slash_behind,
    made_through_a_link_that_leads_nowhere_is_refused,
    belongs_to_who_made_it,
    removed_only_when_empty,
    removed_only_if_it_is_one,
    the_folder_itself_and_above_are_not_removed,
    unlink_removes_no_folder,
    the_folder_above_counts_its_folders,
    what_is_made_and_removed_changes_times_of_the_folder,
    dot_and_dot_dot_lead_where_they_say,
    deep_ones,
);

fn made_with_the_mode_less_the_umask() -> Held {
    mkdir("d", bits(0o777))?;
    mkdir("e", bits(0o1700))?;
    mode_is("d", 0o755)?;
    mode_is("e", 0o1700)?;
    equal(FileType::from_raw_mode(lstat("d")?.st_mode), FileType::Directory)?;
    equal(lstat("d")?.st_nlink, 2)
}

fn made_where_something_is_is_refused() -> Held {
    file("f")?;
    folder("d")?;
    symlink("d", "l")?;
    for name in ["f", "d", "l", ".", "d/.", "d/.."] {
        fails(Errno::EXIST, mkdir(name, bits(0o755)))?;
    }
    Ok(())
}

fn made_under_nothing_or_under_a_file_is_refused() -> Held {
    file("f")?;
    fails(Errno::NOENT, mkdir("d/e", bits(0o755)))?;
    fails(Errno::NOTDIR, mkdir("f/e", bits(0o755)))
}

fn made_with_a_slash_behind() -> Held {
    mkdir("d/", bits(0o755))?;
    mkdir("d/e//", bits(0o755))?;
    rmdir("d/e/")?;
    Ok(rmdir("d/")?)
}

fn made_through_a_link_that_leads_nowhere_is_refused() -> Held {
    symlink("nowhere", "l")?;
    fails(Errno::EXIST, mkdir("l", bits(0o755)))?;
    holds(!is_there("nowhere"), "nothing was made where the link leads")
}

fn belongs_to_who_made_it() -> Held {
    crate::scene::allow(".", 0o777)?;
    as_user(ANNA, || folder("d"))?;
    owner_is("d", ANNA.0, ANNA.0)
}

fn removed_only_when_empty() -> Held {
    folder("d")?;
    file("d/f")?;
    fails(Errno::NOTEMPTY, rmdir("d"))?;
    unlink("d/f")?;
    rmdir("d")?;
    fails(Errno::NOENT, rmdir("d"))?;
    fails(Errno::NOENT, stat("d"))
}

fn removed_only_if_it_is_one() -> Held {
    file("f")?;
    folder("d")?;
    symlink("d", "l")?;
    fails(Errno::NOTDIR, rmdir("f"))?;
    fails(Errno::NOTDIR, rmdir("l"))?;
    fails(Errno::NOTDIR, rmdir("f/x"))?;
    holds(is_there("d"), "the link's target stays")
}

fn the_folder_itself_and_above_are_not_removed() -> Held {
    folder("d")?;
    fails(Errno::INVAL, rmdir("d/."))?;
    fails(Errno::NOTEMPTY, rmdir("d/.."))
}

fn unlink_removes_no_folder() -> Held {
    folder("d")?;
    fails(Errno::ISDIR, unlink("d"))?;
    fails(Errno::ISDIR, unlink("d/"))?;
    file("f")?;
    fails(Errno::NOTDIR, unlink("f/"))
}

fn the_folder_above_counts_its_folders() -> Held {
    folder("d")?;
    folder("d/a")?;
    folder("d/b")?;
    file("d/f")?;
    equal(stat("d")?.st_nlink, 4)?;
    rmdir("d/a")?;
    equal(stat("d")?.st_nlink, 3)?;
    rustix::fs::rename("d/b", "b")?;
    equal(stat("d")?.st_nlink, 2)
}

fn what_is_made_and_removed_changes_times_of_the_folder() -> Held {
    folder("d")?;
    let acts: [fn() -> Held; 4] = [|| file("d/f"), || folder("d/e"), || Ok(rmdir("d/e")?), || Ok(unlink("d/f")?)];
    for act in acts {
        let before = (modified("d")?, changed("d")?);
        tick();
        act()?;
        holds(modified("d")? > before.0 && changed("d")? > before.1, "mtime and ctime are newer")?;
    }
    Ok(())
}

fn dot_and_dot_dot_lead_where_they_say() -> Held {
    folder("d")?;
    put("f", "x")?;
    equal(stat("d/..")?.st_ino, stat(".")?.st_ino)?;
    equal(stat("d/.")?.st_ino, stat("d")?.st_ino)?;
    equal(stat("d/../d/../f")?.st_ino, stat("f")?.st_ino)
}

fn deep_ones() -> Held {
    let mut path = String::from("d");
    for _ in 0..60 {
        folder(&path)?;
        path.push_str("/d");
    }
    put(&path, "deep")?;
    equal(crate::scene::text(&path)?.as_str(), "deep")
}
