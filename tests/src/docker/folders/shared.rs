//! What is not shared: refused by name, wherever links and `..` lead, and a share without the right to write.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Case, Folder, Session, refused, same};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "files_h10_what_is_not_shared_is_refused", run: not_shared },
        Case { name: "files_h10_lighters_own_files_are_in_no_container", run: hidden },
        Case { name: "files_f5_links_resolve_in_the_container", run: links },
    ]
}

pub(super) fn restarting() -> Vec<Case> {
    vec![Case { name: "files_h9_read_only_shares_refuse_every_write", run: read_only_share }]
}

fn not_shared(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "walls")?;
    symlink("/etc", folder.path.join("link-to-etc"))?;
    symlink("../../../../../../../../etc", folder.path.join("link-up"))?;
    symlink(s.dir.join("home"), folder.path.join("link-to-ours"))?;
    let at = folder.path.display();
    let home = s.dir.display();
    let setting = "`mounts` in config.toml";
    for (path, why) in [
        ("/etc".to_owned(), setting),
        ("/".to_owned() + "srv", setting),
        (format!("{home}/.."), setting),
        (format!("{home}/../../etc"), setting),
        (format!("{at}/link-to-etc"), setting),
        (format!("{at}/link-to-etc/ssl"), setting),
        (format!("{at}/link-up"), setting),
        (format!("{home}/home"), "lighter's own files"),
        (format!("{home}/home/default"), "lighter's own files"),
        (format!("{at}/link-to-ours"), "lighter's own files"),
        (format!("{at}/../../home/default"), "lighter's own files"),
    ] {
        refused(s, &["run", "--rm", "-v", &format!("{path}:/x"), BUSYBOX, "true"], &[&path, why])?;
        let mount = format!("type=bind,source={path},target=/x");
        refused(s, &["run", "--rm", "--mount", &mount, BUSYBOX, "true"], &[&path, why])?;
    }
    Ok(())
}

/// The home folder is shared, and lighter's files lie in it.
fn hidden(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "hidden")?;
    let bind = format!("{}:/src", s.dir.display());
    let script = "cd /src && ls -A && ls -lA . | grep -c ' home$'; cat home/default/config.toml; ls home; echo x > home/x; \
        mkdir home; mv home other; mv files home; ln -s home link && ls link/; rm link; echo end";
    let done = s.docker(["run", "--rm", "-v", &bind, BUSYBOX, "sh", "-c", script]).finish()?;
    let names: Vec<_> = done.text().lines().map(str::to_owned).collect();
    ensure!(names.iter().any(|name| name == "docker"), "the rest is there: {names:?}");
    ensure!(!names.iter().any(|name| name == "home" || name == "default"), "lighter's files are listed: {names:?}");
    same("in a long list, and the end", &names[names.len() - 2..], &["0".to_owned(), "end".to_owned()])?;
    let there = s.dir.join("home/default/config.toml").is_file() && folder.path.is_dir();
    ensure!(there, "something was moved into lighter's files, or out: {}", done.talk());
    same("lighter", s.lighter(["shell", "echo", "well"]).ok()?.text(), "well".to_owned())
}

fn links(s: &Session) -> Result<()> {
    let canary = Canary::sing()?;
    let folder = Folder::bound(s, "links")?;
    symlink(&canary.path, folder.path.join("absolute"))?;
    symlink(format!("../../../../../../../..{}", canary.path), folder.path.join("relative"))?;
    symlink("/etc/passwd", folder.path.join("passwd"))?;
    symlink("/", folder.path.join("top"))?;
    let said = folder.tries("cd /src; cat absolute relative; cat passwd; ls top; cat top/proc/1/comm")?;
    canary.is_unheard(&said.text())?;
    ensure!(said.text().contains("root:x:0:0:root:/root:/bin/sh"), "the container's own passwd: {}", said.text());
    ensure!(
        said.text().contains("\nsleep") && said.text().contains("src"),
        "the container's own root: {}",
        said.text()
    );
    // What the container makes is text to the host, too.
    folder.sh(&format!("cd /src && ln -s {} mine && ! cat mine 2>/dev/null", canary.path))?;
    let read =
        s.out(&["run", "--rm", "-v", &format!("{}:/src", folder.path.display()), BUSYBOX, "cat", "/src/passwd"])?;
    same("in another container", read, "root:x:0:0:root:/root:/bin/sh".to_owned())
}

/// A file of the host's outside every share, which no container may ever read.
pub(super) struct Canary {
    _file: tempfile::NamedTempFile,
    pub path: String,
    song: String,
}

impl Canary {
    pub fn sing() -> Result<Self> {
        let file = tempfile::Builder::new().prefix("canary").tempfile_in("/tmp")?;
        let song = format!("the canary of {}", std::process::id());
        fs::write(file.path(), &song)?;
        Ok(Self { path: file.path().to_str().context("no text")?.to_owned(), _file: file, song })
    }

    /// The name of it.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub fn is_unheard(&self, said: &str) -> Result<()> {
        ensure!(!said.contains(&self.song), "a container has read {}, which is not shared", self.path);
        Ok(())
    }
}

fn read_only_share(s: &Session) -> Result<()> {
    let folder = Folder::made(s, "share")?;
    let [looked, written] = ["looked at", "written"].map(|name| folder.path.join(name));
    for path in [&looked, &written] {
        fs::create_dir_all(path.join("in"))?;
        fs::write(path.join("file"), "kept\n")?;
    }
    let config = s.dir.join("home/default/config.toml");
    let before = fs::read_to_string(&config)?;
    s.lighter(["stop"]).ok()?;
    s.configure(&format!("mounts = [{looked:?}, \"{}:w\"]", written.display()))?;
    let tried = s.start().and_then(|()| writes(s, &folder, &looked.display().to_string()));
    s.lighter(["stop"]).ok()?;
    fs::write(&config, before)?;
    s.start()?;
    tried
}

/// Every way to change something, in a share that is to be looked at only.
const WRITES: &[&str] = &[
    "touch new",
    "touch file",
    "echo x > file",
    "echo x >> file",
    "echo x > new",
    "mkdir new",
    "rm file",
    "rmdir in",
    "mv file other",
    "mv file in/file",
    "chmod 777 file",
    "chown 5:5 file",
    "ln file other",
    "ln -s file other",
    "truncate -s 0 file",
    "mkfifo new",
    "mknod new c 1 3",
    "touch -d 2001-01-01 file",
    "cp /bin/busybox in/tool",
];

fn writes(s: &Session, folder: &Folder, looked: &str) -> Result<()> {
    let bind = [format!("{looked}:/ro"), format!("{}:/rw", folder.path.join("written").display())];
    s.out(&["run", "-d", "--name", "walls", "-v", &bind[0], "-v", &bind[1], BUSYBOX, "sleep", "3600"])?;
    let script: String = WRITES.iter().map(|write| format!("sh -c 'cd /ro; {write}' 2>&1 || echo refused\n")).collect();
    let said = s.out(&["exec", "walls", "sh", "-c", &script])?;
    let refusals = said.lines().filter(|line| *line == "refused").count();
    let reasons = said.lines().filter(|line| line.contains("Read-only file system")).count();
    ensure!(refusals == WRITES.len() && reasons >= refusals, "{refusals} of {} were refused: {said}", WRITES.len());
    let privileged = "mount -o remount,rw,bind /ro && touch /ro/new; mount -o remount,rw /ro; touch /ro/new";
    let done = s.docker(["run", "--rm", "--privileged", "-v", &bind[0], BUSYBOX, "sh", "-c", privileged]).finish()?;
    ensure!(!done.status.success() && done.talk().contains("Read-only"), "privileged: {} {}", done.status, done.talk());
    same("names on the host", fs::read_dir(looked)?.count(), 2)?;
    same("content on the host", fs::read_to_string(format!("{looked}/file"))?, "kept\n".to_owned())?;
    s.out(&["exec", "walls", "sh", "-c", "echo more >> /rw/file && mv /rw/file /rw/moved"])?;
    same("the other share", folder.read("written/moved")?, "kept\nmore\n".to_owned())?;
    // The home folder is not shared any more, since others are named.
    let home = format!("{}:/x", s.dir.display());
    refused(s, &["run", "--rm", "-v", &home, BUSYBOX, "true"], &[looked, "`mounts` in config.toml"])
}
