//! What a program in a container hears of edits on this computer, and of its own: each once, and of its true kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{BUSYBOX, Case, Session, same};

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![Case { name: "files_edits_of_the_host_raise_events_of_their_kind", run: edits }]
}

/// A container that says what it hears of a folder of this computer.
struct Watcher<'a> {
    s: &'a Session,
    folder: PathBuf,
    heard: usize,
}

impl Watcher<'_> {
    fn lines(&self) -> Result<Vec<String>> {
        Ok(self.s.out(&["logs", "watcher"])?.lines().map(str::to_owned).collect())
    }

    /// Waits until these lines have come, and no others with them; cookies are compared with each other alone.
    fn hears(&mut self, wanted: &[&str]) -> Result<()> {
        let until = Instant::now() + self.s.seconds(30);
        loop {
            let lines = self.lines()?;
            let new: Vec<&str> = lines[self.heard.min(lines.len())..].iter().map(String::as_str).collect();
            if new.len() >= wanted.len() || Instant::now() > until {
                let kinds: Vec<String> =
                    new.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
                same("events", kinds, wanted.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())?;
                let cookies: Vec<&str> = new.iter().filter_map(|line| line.split(' ').nth(2)).collect();
                ensure!(cookies.chunks(2).all(|pair| pair.first() == pair.last()), "a renaming in two halves: {new:?}");
                self.heard = lines.len();
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until these lines are the last that came; before them may be some of `perhaps`, and nothing else.
    fn hears_at_last(&mut self, wanted: &[&str], perhaps: &[&str]) -> Result<()> {
        let until = Instant::now() + self.s.seconds(30);
        loop {
            let lines = self.lines()?;
            let new = lines[self.heard.min(lines.len())..].iter();
            let kinds: Vec<String> = new.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
            let before = kinds.len().saturating_sub(wanted.len());
            if kinds[before..] == *wanted {
                ensure!(kinds[..before].iter().all(|kind| perhaps.contains(&kind.as_str())), "events: {kinds:?}");
                self.heard = lines.len();
                return Ok(());
            }
            ensure!(Instant::now() < until, "events: {kinds:?}, and at last should be {wanted:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn in_container(&self, script: &str) -> Result<String> {
        self.s.out(&["exec", "watcher", "sh", "-c", script])
    }
}

fn start<'a>(s: &'a Session, folder: &Path) -> Result<Watcher<'a>> {
    fs::create_dir(folder)?;
    let mount = format!("{}:/src", folder.display());
    let program = s.meter.display().to_string();
    s.out(&["create", "--name", "watcher", "-v", &mount, BUSYBOX, "/data/meter", "watch", "/src"])?;
    s.out(&["cp", &program, "watcher:/data/meter"])?;
    s.out(&["start", "watcher"])?;
    let mut watcher = Watcher { s, folder: folder.to_owned(), heard: 0 };
    watcher.hears(&["ready"])?;
    Ok(watcher)
}

fn edits(s: &Session) -> Result<()> {
    let folder = s.dir.join("watched");
    let mut watcher = start(s, &folder)?;
    let file = watcher.at("file");
    fs::write(&file, "one")?;
    watcher.hears(&["CREATE file", "MODIFY file"])?;
    append(&file, " two")?;
    watcher.hears(&["MODIFY file"])?;
    same("content after the event", watcher.in_container("cat /src/file")?, "one two".to_owned())?;
    fs::rename(&file, watcher.at("other"))?;
    watcher.hears(&["MOVED_FROM file", "MOVED_TO other"])?;
    // As most editors save.
    fs::write(watcher.at(".save"), "three")?;
    watcher.hears(&["CREATE .save", "MODIFY .save"])?;
    fs::rename(watcher.at(".save"), watcher.at("other"))?;
    watcher.hears(&["MOVED_FROM .save", "MOVED_TO other"])?;
    same("content after the event", watcher.in_container("cat /src/other")?, "three".to_owned())?;
    saved_at_once(&mut watcher)?;
    fs::set_permissions(watcher.at("other"), std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
    watcher.hears(&["ATTRIB other"])?;
    fs::create_dir(watcher.at("folder"))?;
    watcher.hears(&["CREATE folder/"])?;
    fs::remove_dir(watcher.at("folder"))?;
    watcher.hears(&["DELETE folder/"])?;
    fs::remove_file(watcher.at("other"))?;
    watcher.hears(&["DELETE other"])?;
    // Its own doings it hears of once, as everywhere.
    watcher.in_container("mknod /src/own p; mv /src/own /src/mine; rm /src/mine")?;
    watcher.hears(&["CREATE own", "MOVED_FROM own", "MOVED_TO mine", "DELETE mine"])?;
    std::thread::sleep(Duration::from_secs(1));
    watcher.hears(&[])?;
    seen_by_who_looked_before(&mut watcher)?;
    a_whole_folder_goes(&mut watcher)?;
    fs::write(watcher.at("end"), "")?;
    ended(s)
}

/// As other editors save: so soon that the other file has its last name when anybody here looks for it under its first.
fn saved_at_once(watcher: &mut Watcher) -> Result<()> {
    for (round, target) in ["other", "fresh", "other", "fresh"].into_iter().enumerate() {
        let (first, text) = (format!(".at-once-{round}"), format!("round {round}"));
        fs::write(watcher.at(&first), &text)?;
        fs::rename(watcher.at(&first), watcher.at(target))?;
        let [create, modify] = ["CREATE", "MODIFY"].map(|kind| format!("{kind} {first}"));
        let moved = [format!("MOVED_FROM {first}"), format!("MOVED_TO {target}")];
        watcher.hears_at_last(&[&moved[0], &moved[1]], &[&create, &modify])?;
        same("content after the event", watcher.in_container(&format!("cat /src/{target}"))?, text)?;
    }
    fs::remove_file(watcher.at("fresh"))?;
    watcher.hears(&["DELETE fresh"])
}

/// What the container's kernel remembers of a name does not keep the event away.
fn seen_by_who_looked_before(watcher: &mut Watcher) -> Result<()> {
    ensure!(watcher.in_container("cat /src/late 2>&1 || true")?.contains("No such file"), "there is none yet");
    fs::write(watcher.at("late"), "")?;
    watcher.hears(&["CREATE late"])?;
    watcher.in_container("cat /src/late")?;
    fs::remove_file(watcher.at("late"))?;
    watcher.hears(&["DELETE late"])
}

/// Much at once, in a folder that nobody there has listed and whose name the container's kernel has to ask for again: it goes
/// after its files, and all that is told of it.
fn a_whole_folder_goes(watcher: &mut Watcher) -> Result<()> {
    const FILES: usize = 60;
    fs::create_dir(watcher.at("tree"))?;
    (0..FILES).try_for_each(|number| fs::write(watcher.at(&format!("tree/{number}")), ""))?;
    watcher.hears(&["CREATE tree/"])?;
    watcher.s.out(&["exec", "-d", "watcher", "sh", "-c", "/data/meter watch /src/tree > /data/tree"])?;
    let until = Instant::now() + watcher.s.seconds(60);
    let heard = |end: &str| -> Result<Vec<String>> {
        loop {
            let lines: Vec<String> = watcher
                .in_container("cat /data/tree 2> /dev/null || true")?
                .lines()
                .map(|line| line.trim_end().to_owned())
                .collect();
            if lines.last().is_some_and(|last| last == end) {
                return Ok(lines);
            }
            ensure!(Instant::now() < until, "the last event should be {end}: {lines:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    heard("ready")?;
    // As long as an answer is believed, and the host's watch takes to begin.
    std::thread::sleep(Duration::from_secs(4));
    fs::remove_dir_all(watcher.at("tree"))?;
    let mut lines = heard("IGNORED")?;
    lines.sort_unstable();
    let mut wanted: Vec<String> = (0..FILES).map(|number| format!("DELETE {number}")).collect();
    wanted.extend(["IGNORED", "ready"].map(str::to_owned));
    wanted.sort_unstable();
    same("events of a folder that goes", lines, wanted)?;
    watcher.hears(&["DELETE tree/"])
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    Ok(fs::OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?)
}

fn ended(s: &Session) -> Result<()> {
    let code = s.docker(["wait", "watcher"]).ok().context("the watcher did not end")?.text();
    if code != "0" {
        bail!("the watcher ended with {code}: {}", s.out(&["logs", "watcher"])?);
    }
    Ok(())
}
