//! Locks that die with their holder. Who holds a profile's `daemon.lock` is its daemon: liveness is never read from a file's
//! content, so a crash leaves nothing that must be cleaned up by hand. A lock's file is removed by whoever holds it; one
//! that gets a lock on a file which lost its name meanwhile tries again.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::sys::files;

/// How long a removed file may keep others from making a new one, see [`files::may_be_going`].
const GOING: Duration = Duration::from_secs(3);
/// How soon to try again then.
const AGAIN: Duration = Duration::from_millis(10);

/// A held lock; released and its file removed on drop.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock; `None` if it is still held after `patience`.
    pub fn acquire(path: &Path, patience: Duration) -> io::Result<Option<Lock>> {
        let deadline = Instant::now() + patience;
        let mut going = Instant::now() + GOING;
        loop {
            let file = match open(path) {
                // Whoever still has a removed file open is on its way to find that out, and closes it.
                Err(error) if files::may_be_going(&error) && Instant::now() < going => {
                    std::thread::sleep(AGAIN);
                    continue;
                }
                result => result?,
            };
            if !within(&file, deadline.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            if files::is_at(&file, path) {
                return Ok(Some(Lock { file, path: path.to_owned() }));
            }
            going = Instant::now() + GOING;
        }
    }
}

impl Lock {
    /// Whether its file is still where others look for it.
    pub fn stands(&self) -> bool {
        files::is_at(&self.file, &self.path)
    }

    /// Writes which process holds it. Only a second witness: a crash leaves it behind.
    pub fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

/// For a person: that a lock at `path` cannot be had at all, and what helps.
pub fn refused(path: &Path) -> String {
    format!(
        "Cannot lock {}: make its place writable, or set LIGHTER_HOME to a directory of yours elsewhere",
        path.display()
    )
}

/// Which process signed the lock at `path` last.
pub fn signature(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Locks an open file, waiting `patience` at most; whether that worked. The lock goes when `file` is closed.
pub fn within(file: &File, patience: Duration) -> io::Result<bool> {
    if files::try_lock(file)? {
        return Ok(true);
    }
    if patience.is_zero() {
        return Ok(false);
    }
    let same = file.try_clone()?;
    let (locked, waiting) = mpsc::sync_channel(0);
    // No system has a lock call with a time limit. If the limit passes first, this thread ends with the process, or closes
    // its handle as soon as it gets the lock.
    std::thread::spawn(move || {
        let result = files::lock(&same);
        drop(same);
        locked.send(result)
    });
    match waiting.recv_timeout(patience) {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        files::remove_lock_file(&self.file, &self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    files::owner_only().create(true).truncate(false).read(true).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn c5_only_one_holds_a_lock_and_its_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has it");
        assert!(Lock::acquire(&path, Duration::ZERO).unwrap().is_none());
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn c5_a_waiter_gets_the_lock_when_the_holder_lets_go_and_never_on_a_removed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("start.lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has it");
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let lock = Lock::acquire(&path, Duration::from_secs(30)).unwrap().expect("the holder lets go");
                    assert!(files::is_at(&lock.file, &path), "the lock is on the file that others see");
                })
            })
            .collect();
        drop(first);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(!path.exists());
    }

    #[test]
    fn c5_a_stale_lock_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        fs::write(&path, "4711\n").unwrap();
        assert!(Lock::acquire(&path, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn who_signed_a_lock_can_be_read_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        fs::write(&path, "4711 and a longer text than a number").unwrap();
        assert_eq!(signature(&path), None);
        let mut lock = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has it");
        lock.sign().unwrap();
        assert_eq!(signature(&path), Some(std::process::id()));
        assert!(lock.stands());
        drop(lock);
        assert_eq!(signature(&path), None);
    }

    #[test]
    fn a_lock_knows_whether_others_still_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let lock = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has it");
        assert!(lock.stands());
        fs::remove_file(&path).unwrap();
        assert!(!lock.stands());
        assert_eq!(signature(&path), None);
    }

    #[test]
    fn a_lock_whose_file_was_moved_away_leaves_the_one_in_its_place_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has it");
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        assert!(!first.stands());
        let second = Lock::acquire(&path, Duration::ZERO).unwrap().expect("nobody has this one");
        assert!(second.stands() && !first.stands());
        drop(first);
        assert!(second.stands());
    }

    #[test]
    fn c5_waiting_for_a_lock_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.lock");
        let _held = Lock::acquire(&path, Duration::ZERO).unwrap();
        assert!(Lock::acquire(&path, Duration::from_millis(20)).unwrap().is_none());
    }
}
