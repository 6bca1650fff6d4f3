//! Files that several have open: without a name, at their end, by a pipe, by two names, and replaced under a reader.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};

use super::{Case, Folder, Session, exec, same};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_f7_removed_files_stay_for_who_has_them_open", run: unlinked },
        Case { name: "files_two_containers_append_and_lose_nothing", run: append },
        Case { name: "files_renames_and_hard_links", run: renames },
        Case { name: "files_a_pipe_joins_two_containers", run: pipe },
        Case { name: "files_databases_write_and_sync", run: sync },
    ]
}

fn unlinked(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "unlinked")?;
    let script = "cd /src && exec 3<> gone && echo first >&3 && rm gone && echo second >&3 && \
        sync && ls -A && cat /proc/self/fd/3 && stat -L -c '%h %s' /proc/self/fd/3";
    same("a file without a name", folder.sh(script)?, "first\nsecond\n0 13".to_owned())?;
    // Replaced by another one while it is read.
    let script = "cd /src && echo old > one && exec 3< one && echo new > two && mv two one && cat one && cat <&3 && ls";
    same("a file that was replaced", folder.sh(script)?, "new\nold\none".to_owned())?;
    // The folder in which somebody is, is removed.
    let script = "mkdir /src/here && cd /src/here && rmdir /src/here && ! touch x 2>/dev/null && ls -A /src";
    same("a folder that is gone", folder.sh(script)?, "one".to_owned())?;
    // One holds it open while another one removes it; the host does the same.
    folder.container("holder", &[])?;
    folder.write("held", "held\n")?;
    let wait = "exec 3< /src/held && touch /src/ready && while [ -e /src/ready ]; do sleep 0.1; done && cat <&3";
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| exec(s, "holder", wait));
        folder.sh("while [ ! -e /src/ready ]; do sleep 0.1; done; rm /src/held; rm /src/ready")?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })?;
    same("read after another container removed it", read, "held".to_owned())?;
    let wait = "exec 3<> /src/made && echo made >&3 && touch /src/ready && while [ -e /src/ready ]; do sleep 0.1; done && \
        stat -L -c '%h %s' /proc/self/fd/3 && echo more >&3 && stat -L -c %s /proc/self/fd/3";
    let [made, ready] = ["made", "ready"].map(|name| folder.path.join(name));
    let said = std::thread::scope(|scope| {
        let writer = scope.spawn(|| exec(s, "holder", wait));
        while !ready.exists() && !writer.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        [made, ready].iter().try_for_each(std::fs::remove_file)?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    })?;
    same("known and written to after the host removed it", said, "0 5\n10".to_owned())
}

fn append(s: &Session) -> Result<()> {
    const LINES: usize = 400;
    let folder = Folder::bound(s, "append")?;
    folder.container("second", &[])?;
    let write = |word: &str| format!("i=0; while [ $i -lt {LINES} ]; do echo {word} $i >> /src/log; i=$((i+1)); done");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| exec(s, "second", &write("second")));
        folder.sh(&write("first"))?;
        other.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    })?;
    let log = folder.read("log")?;
    for word in ["first", "second"] {
        let lines: Vec<_> = log.lines().filter(|line| line.starts_with(word)).collect();
        let wanted: Vec<String> = (0..LINES).map(|number| format!("{word} {number}")).collect();
        ensure!(lines == wanted, "{} of {LINES} lines of {word} are there and in order", lines.len());
    }
    same("lines", log.lines().count(), 2 * LINES)
}

fn renames(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "renames")?;
    let script = "cd /src && echo a > a && ln a b && stat -c '%h' a b && mkdir in && mv b in/c && echo more >> in/c && cat a && \
        rm a && stat -c '%h' in/c && mv in out && cat out/c && mkdir full && touch full/x && ! mv -T out full 2>/dev/null && \
        ln -s out/c link && cat link && ln -s nowhere dangling && ! cat dangling 2>/dev/null && ls";
    let said = "2\n2\na\nmore\n1\na\nmore\na\nmore\ndangling\nfull\nlink\nout";
    same("names", folder.sh(script)?, said.to_owned())?;
    let real = fs::metadata(folder.path.join("out/c"))?;
    same("names on the host", real.nlink(), 1)?;
    same("content on the host", folder.read("out/c")?, "a\nmore\n".to_owned())?;
    // Numbers stay, by which programs tell files apart.
    let script = "cd /src && [ $(stat -c %i out/c) = $(stat -L -c %i link) ] && ln out/c again && [ out/c -ef again ] && echo same";
    same("numbers", folder.sh(script)?, "same".to_owned())
}

fn pipe(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "pipe")?;
    folder.container("talks", &[])?;
    folder.sh("mkfifo /src/pipe")?;
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| folder.sh("timeout 60 cat /src/pipe"));
        exec(s, "talks", "echo through the pipe > /src/pipe")?;
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })?;
    same("what comes through", read, "through the pipe".to_owned())
}

/// As databases do it: a journal that is written, synced and removed, and pages that are written in place.
fn sync(s: &Session) -> Result<()> {
    let folder = Folder::bound(s, "sync")?;
    let script = "cd /src && dd if=/dev/zero of=db bs=4096 count=64 conv=fsync 2>/dev/null && i=0 && while [ $i -lt 20 ]; do \
        dd if=db of=journal bs=4096 count=1 skip=$i conv=fsync 2>/dev/null && \
        echo page $i | dd of=db bs=4096 count=1 seek=$i conv=notrunc,fsync 2>/dev/null && rm journal && sync || exit 1; \
        i=$((i+1)); done; ls; sha256sum < db";
    let said = folder.sh(script)?;
    let hash = super::here(s, &format!("busybox sha256sum < '{}'", folder.path.join("db").display()))?;
    same("what is there", said, format!("db\n{hash}"))?;
    same("length", fs::metadata(folder.path.join("db"))?.len(), 64 * 4096)
}
