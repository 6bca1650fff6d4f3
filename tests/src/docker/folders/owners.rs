//! Owners, modes and special files: a container sees what it made of them, whichever container and whenever; the host keeps its
//! files, and never gets a set-id bit or a device.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, exec, same};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_f8_set_id_and_devices_are_never_real", run: never_real },
        Case { name: "files_extended_attributes_and_times", run: attributes },
    ]
}

pub(super) fn restarting() -> Vec<Case> {
    vec![Case { name: "files_owners_are_seen_by_others_and_after_a_restart", run: owners }]
}

const STAT: &str = "%a %u:%g %F";

/// As the image of Postgres begins: with a folder of its own user that nobody else may read.
fn owners(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "owned")?;
    let us = rustix::process::geteuid().as_raw();
    folder.sh("cd /src && mkdir data && chown 999:998 data && chmod 0700 data")?;
    s.out(&["exec", "-u", "999:998", "owned", "sh", "-c", "echo row > /src/data/table && chmod 0400 /src/data/table"])?;
    folder.container("other", &[])?;
    let look = format!("cd /src && stat -c '{STAT} %n' data data/table");
    let seen = "700 999:998 directory data\n400 999:998 regular file data/table".to_owned();
    same("in another container", exec(s, "other", &look)?, seen.clone())?;
    let stranger = s.docker(["exec", "-u", "1000", "other", "cat", "/src/data/table"]).finish()?;
    ensure!(stranger.talk().contains("Permission denied"), "a stranger reads it: {}", stranger.text());
    for name in ["data", "data/table"] {
        let real = fs::symlink_metadata(folder.path.join(name))?;
        same("owner on the host", real.uid(), us)?;
        same("what the host's user may still do", real.mode() & 0o600, 0o600)?;
    }
    same("read on the host", folder.read("data/table")?, "row\n".to_owned())?;
    s.lighter(["restart"]).ok()?;
    let bind = format!("{}:/src", folder.path.display());
    let later = s.out(&["run", "--rm", "-v", &bind, BUSYBOX, "sh", "-c", &look])?;
    same("after a restart", later, seen)
}

fn never_real(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "special")?;
    let script = "cd /src && cp /bin/busybox tool && chmod 6755 tool && mkdir shared && chmod 3777 shared && \
        mknod null c 1 3 && mknod disk b 8 0 && mkfifo pipe && ln -s /etc/passwd link && \
        stat -c '%a %F %n' tool shared null disk pipe link && stat -c '%t:%T' null disk";
    let seen = "6755 regular file tool\n3777 directory shared\n644 character special file null\n\
        644 block special file disk\n644 fifo pipe\n777 symbolic link link\n1:3\n8:0";
    same("in the container", folder.sh(script)?, seen.to_owned())?;
    for entry in fs::read_dir(&folder.path)? {
        let entry = entry?;
        let (real, name) = (entry.metadata()?, entry.file_name());
        same(&format!("set-id bits of {name:?} on the host"), real.mode() & 0o6000, 0)?;
        let kind = real.file_type();
        let special = kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket();
        ensure!(!special, "{name:?} is {kind:?} on the host");
    }
    let found = fs::read_link(folder.path.join("link"))?;
    same("what the link says", found.to_str().context("no text")?, "/etc/passwd")?;
    // Root's program, run by another user, by its set-user-id bit.
    let by = "cp /src/tool /src/id && chown 0:0 /src/id && chmod 4755 /src/id && stat -c %a /src/id";
    same("a set-id program", folder.sh(by)?, "4755".to_owned())?;
    let written =
        s.out(&["exec", "-u", "1000", "special", "sh", "-c", "ls -ln /src/id && ! echo x 2>/dev/null >> /src/id"])?;
    ensure!(written.starts_with("-rws"), "{written}");
    same("gone again", folder.sh("cd /src && rm -r tool id shared null disk pipe link && ls -A")?, String::new())
}

fn attributes(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "times")?;
    folder.write("old", "x")?;
    let stamp = folder.sh("touch -d '2001-02-03 04:05:06' /src/old && stat -c %Y /src/old")?;
    same("a time set in the container", fs::metadata(folder.path.join("old"))?.mtime().to_string(), stamp)?;
    let made = folder.sh("echo y > /src/new && stat -c %Y /src/new")?;
    same("a time of the host", fs::metadata(folder.path.join("new"))?.mtime().to_string(), made)?;
    let cut =
        folder.sh("truncate -s 1000000 /src/new && stat -c '%s' /src/new && truncate -s 1 /src/new && cat /src/new")?;
    same("cut and grown", cut, "1000000\ny".to_owned())?;
    same("on the host", folder.read("new")?, "y".to_owned())?;
    let room: u64 = folder.sh("df -k /src | tail -n 1 | awk '{ print $(NF-2) }'")?.parse().context("no room")?;
    let here = rustix::fs::statvfs(&folder.path)?;
    let here = (here.f_bavail * here.f_frsize) >> 10;
    ensure!(room.abs_diff(here) < here / 4 + (1 << 20), "df says {room} KiB, the host has {here}");
    Ok(())
}
