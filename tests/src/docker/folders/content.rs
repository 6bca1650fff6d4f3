//! What a bind shows and takes: content by hash both ways, odd names, `:ro`, and sources that are not there.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, refused, same, same_tree};
use crate::rig::servers::content;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_content_goes_both_ways_by_hash", run: both_ways },
        Case { name: "files_odd_names_are_the_same_names", run: names },
        Case { name: "files_read_only_binds_refuse", run: read_only },
        Case { name: "files_sources_that_are_missing", run: missing },
        Case { name: "files_h9_inspect_shows_the_source", run: inspect },
    ]
}

const MIB: usize = 1 << 20;

fn both_ways(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "content")?;
    folder.write("one", content(MIB + 1))?;
    folder.write("sixty-four", content(64 * MIB))?;
    folder.write("empty", "")?;
    same_tree(&folder)?;
    folder.sh(
        "cd /src && cat one sixty-four > made && rm sixty-four && mkdir -p deep/er && cp one deep/er/copy && sync",
    )?;
    ensure!(!folder.path.join("sixty-four").exists(), "what was removed in the container is still on the host");
    same_tree(&folder)
}

fn names(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "names")?;
    let odd: [&[u8]; 9] = [
        b"with some spaces",
        "ünïcödé 文件 🛶".as_bytes(),
        b"new\nline",
        b"\"quoted\" 'twice' \\n",
        b"-rf",
        b"a:b",
        b".hidden",
        b"\xff\xfe no text",
        &[b'x'; 255],
    ];
    for name in odd {
        fs::write(folder.path.join(std::ffi::OsStr::from_bytes(name)), name)?;
    }
    fs::create_dir(folder.path.join("empty folder"))?;
    same_tree(&folder)?;
    // And what the container makes of them.
    folder.sh("mkdir -p /src/back && cd /src && for one in *; do [ \"$one\" = back ] || cp -r -- \"$one\" \"back/$one\"; done")?;
    same_tree(&folder)?;
    same("names in the copy", fs::read_dir(folder.path.join("back"))?.count(), odd.len())?;
    let long = folder.tries(&format!("touch /src/{}", "y".repeat(256)))?;
    ensure!(long.talk().contains("File name too long"), "a name of 256 bytes: {}", long.talk());
    same("an empty folder", folder.sh("ls -A '/src/empty folder'")?, String::new())
}

fn read_only(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "read-only")?;
    folder.write("kept", "kept\n")?;
    folder.container("looks", &["-v", &format!("{}:/ro:ro", folder.path.display())])?;
    for script in ["touch /ro/new", "echo x > /ro/kept", "rm /ro/kept", "mkdir /ro/new", "chmod 777 /ro/kept"] {
        let done = s.docker(["exec", "looks", "sh", "-c", script]).finish()?;
        ensure!(done.talk().contains("Read-only file system"), "{script}: {} {}", done.status, done.talk());
    }
    // The same folder, bound to be written to as well.
    same(
        "by the other way",
        s.out(&["exec", "looks", "sh", "-c", "echo more >> /src/kept && cat /ro/kept"])?,
        "kept\nmore".into(),
    )?;
    same("on the host", folder.read("kept")?, "kept\nmore\n".into())
}

fn missing(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "missing")?;
    let source = folder.path.join("not/there");
    let mount = format!("type=bind,source={},target=/x", source.display());
    refused(s, &["run", "--rm", "--mount", &mount, BUSYBOX, "true"], &["bind source path does not exist"])?;
    ensure!(!source.exists(), "--mount made its source");
    let bind = format!("{}:/x", source.display());
    s.out(&["run", "--rm", "-v", &bind, BUSYBOX, "touch", "/x/made"])?;
    ensure!(source.join("made").is_file(), "-v of a missing source did not make it on the host");
    // A file is bound as a file.
    folder.write("single", "one\n")?;
    let bind = format!("{}:/x", folder.path.join("single").display());
    same(
        "a single file",
        s.out(&["run", "--rm", "-v", &bind, BUSYBOX, "sh", "-c", "cat /x && echo two >> /x"])?,
        "one".into(),
    )?;
    same("the file on the host", folder.read("single")?, "one\ntwo\n".into())
}

fn inspect(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "shown")?;
    let source = folder.path.display().to_string();
    let place = place(&source);
    let format = "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}}{{end}}";
    same("inspect", s.out(&["inspect", "-f", format, "shown"])?, format!("bind {place} /src true"))?;
    let binds = s.out(&["inspect", "-f", "{{index .HostConfig.Binds 0}}", "shown"])?;
    same("its binds", binds, format!("{place}:/src"))
}

/// Where a folder of a Linux host is in the guest: at its own path, unless the guest has a folder of its own by that name.
fn place(path: &str) -> String {
    let own =
        ["bin", "data", "dev", "etc", "lib", "lib64", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"];
    let top = path.split('/').nth(1).unwrap_or_default();
    if own.contains(&top) { format!("/mnt/host{path}") } else { path.to_owned() }
}
