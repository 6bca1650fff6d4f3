//! A file of the host that is read again only when it has changed, and never by a task that others wait for: questions come at
//! the guest's pace, and a file system may be slow. Called by `mod`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Duration, Instant, timeout};

/// A change counts after this at the latest.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a question waits for the file system before it is answered by what was there before.
const PATIENCE: Duration = Duration::from_secs(2);
/// A file that was changed so lately may be changed again without a new time.
const LATELY: Duration = Duration::from_secs(3);
/// Longest file that is read, in bytes; some block lists have several MiB.
const LONGEST: u64 = 16 << 20;

/// When a file was changed and how long it is; `None` if there is none.
type Stamp = Option<(SystemTime, u64)>;

/// A file, as `parse` understands it.
pub struct Watched<T> {
    path: PathBuf,
    parse: fn(String) -> T,
    state: Mutex<State<T>>,
}

struct State<T> {
    known: Arc<T>,
    stamp: Stamp,
    looked: Option<Instant>,
    /// One look at a time, however long it takes.
    looking: Option<JoinHandle<Option<(Stamp, T)>>>,
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.path).finish()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// The file at `path`, which need not exist.
    pub fn new(path: PathBuf, parse: fn(String) -> T) -> Self {
        let state = State { known: Arc::new(parse(String::new())), stamp: None, looked: None, looking: None };
        Self { path, parse, state: Mutex::new(state) }
    }

    /// What it says now.
    pub async fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().await;
        if state.looked.is_some_and(|looked| looked.elapsed() < PAUSE) {
            return Arc::clone(&state.known);
        }
        let (path, parse, stamp) = (self.path.clone(), self.parse, state.stamp);
        let looking = state.looking.get_or_insert_with(|| spawn_blocking(move || look(&path, stamp, parse)));
        match timeout(PATIENCE, looking).await {
            Ok(outcome) => {
                state.looking = None;
                if let Ok(Some((stamp, now))) = outcome {
                    (state.stamp, state.known) = (stamp, Arc::new(now));
                }
            }
            Err(_) => tracing::debug!(path = %self.path.display(), "the file system does not answer"),
        }
        state.looked = Some(Instant::now());
        Arc::clone(&state.known)
    }

    /// What it says, read at once. For the start, when nobody waits.
    pub fn read_now(&self) -> T {
        (self.parse)(text(&self.path))
    }
}

/// What the file says, if that may be something else than at `before`.
fn look<T>(path: &Path, before: Stamp, parse: fn(String) -> T) -> Option<(Stamp, T)> {
    let stamp = std::fs::metadata(path).ok().and_then(|facts| Some((facts.modified().ok()?, facts.len())));
    let lately = |(changed, _): (SystemTime, u64)| changed.elapsed().is_ok_and(|since| since < LATELY);
    (stamp != before || stamp.is_some_and(lately)).then(|| (stamp, parse(text(path))))
}

/// A file's text; nothing if there is none.
fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // Half a file is better than none.
        let _ = file.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static READ: AtomicUsize = AtomicUsize::new(0);

    fn counting(text: String) -> String {
        READ.fetch_add(1, Ordering::Relaxed);
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_and_what_has_not_changed_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let file = Watched::new(path.clone(), counting);
        assert_eq!(*file.get().await, "");
        std::fs::write(&path, "one").unwrap();
        tokio::time::advance(PAUSE).await;
        assert_eq!(*file.get().await, "one");
        // As if it were old.
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        tokio::time::advance(PAUSE).await;
        file.get().await;
        let before = READ.load(Ordering::Relaxed);
        for _ in 0..100 {
            assert_eq!(*file.get().await, "one");
            tokio::time::advance(PAUSE).await;
        }
        assert_eq!(READ.load(Ordering::Relaxed), before);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(*file.get().await, "two");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(PAUSE).await;
        assert_eq!(*file.get().await, "");
    }
}
