//! Replaces a file in one step, so that a crash or a full disk leaves the old one or the new one and never half of either.
//! Called by `settings`, `context` and the daemon's notes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::sys::files;

/// How long a disk, perhaps one behind a network, may take for a few kilobytes.
const DEADLINE: Duration = Duration::from_secs(20);
/// As many links in a row as Linux follows.
const MOST_LINKS: usize = 40;

/// Makes `bytes` the content of the file at `path`, which gets the permissions of the file that was there, or is private
/// to its owner. A symbolic link stays one: the file that it leads to is replaced, or made if it is missing.
///
/// # Errors
/// What the system says, and `TimedOut` after 20 s without an answer; the file may then be replaced later, or never.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, bytes) = (path.to_owned(), bytes.to_owned());
    within(DEADLINE, move || at_once(&path, &bytes))
}

/// Removes what a process that was killed while it replaced the file at `path` has left beside it. For files that nobody else
/// replaces at the moment.
pub fn sweep(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let id = found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        if id.is_some_and(|id| id.parse::<u32>().is_ok()) {
            // One more file of a few kilobytes is no reason to fail.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Does `work` on a thread of its own: a call to a file system that does not answer cannot be called off.
fn within(deadline: Duration, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let (done, result) = mpsc::channel();
    std::thread::Builder::new().name("replace".to_owned()).spawn(move || {
        // Nobody listens any more to one that comes too late.
        let _ = done.send(work());
    })?;
    match result.recv_timeout(deadline) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let message = format!("the file system did not answer within {} s", deadline.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread that was to write it panicked")),
    }
}

fn at_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => behind_links(path)?,
        Err(error) => return Err(error),
    };
    let dir = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = dir.join(name);
    let written = write(&temporary, &target, bytes).and_then(|()| fs::rename(&temporary, &target));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    files::sync_dir(dir)
}

/// Where the links at `path` lead when nothing is there yet, as with a file that lives in another directory which somebody
/// keeps under version control.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.file_type().is_symlink() => {
                let next = fs::read_link(&target)?;
                target = target.parent().map(|dir| dir.join(&next)).unwrap_or(next);
            }
            Ok(_) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(target),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle, or too far"))
}

fn write(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    // One of a process that had our number and died is in nobody's way.
    let mut file = files::owner_only().create(true).truncate(true).write(true).open(temporary)?;
    file.write_all(bytes)?;
    if target.exists() {
        files::copy_owner_and_mode(target, temporary)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn c5_what_a_killed_process_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let stay = ["notes", "notes.1.tmp.old", "notes.tmp", "notes.x.tmp", "others.1.tmp"];
        for name in stay.iter().chain(&["notes.1.tmp", "notes.4194304.tmp"]) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        sweep(&dir.path().join("notes"));
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, stay);
    }

    #[test]
    fn c6_a_file_system_that_does_not_answer_is_given_up() {
        let (release, held) = mpsc::channel::<()>();
        let result = within(Duration::from_millis(1), move || held.recv().map_err(io::Error::other));
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        drop(release);
        assert!(within(DEADLINE, || Ok(())).is_ok());
        assert!(within(DEADLINE, || panic!("as a bug would")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn c6_a_circle_of_links_is_an_error_and_a_missing_directory_too() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        symlink(&b, &a).unwrap();
        symlink(&a, &b).unwrap();
        assert!(replace(&a, b"x").is_err());
        let lost = dir.path().join("lost");
        symlink(dir.path().join("none/file"), &lost).unwrap();
        assert!(replace(&lost, b"x").is_err());
        assert!(fs::symlink_metadata(&lost).unwrap().file_type().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file stays");
    }

    /// `config.json` of docker in a directory of dotfiles, not there yet.
    #[cfg(unix)]
    #[test]
    fn c6_a_link_stays_one_whether_it_leads_to_a_file_or_to_none_yet() {
        let dir = tempfile::tempdir().unwrap();
        let dotfiles = dir.path().join("dotfiles");
        fs::create_dir(&dotfiles).unwrap();
        let (path, between) = (dir.path().join("config.json"), dir.path().join("between"));
        // Two in a row, the second one relative to where it stands.
        symlink(&between, &path).unwrap();
        symlink("dotfiles/config.json", &between).unwrap();
        for text in ["first", "second"] {
            replace(&path, text.as_bytes()).unwrap();
            for link in [&path, &between] {
                assert!(fs::symlink_metadata(link).unwrap().file_type().is_symlink(), "{text}");
            }
            assert_eq!(fs::read_to_string(dotfiles.join("config.json")).unwrap(), text);
            assert_eq!(fs::read_dir(&dotfiles).unwrap().count(), 1, "no temporary file stays");
        }
    }
}
