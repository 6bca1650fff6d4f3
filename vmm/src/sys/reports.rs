//! Reports of changes on systems that have them for a whole tree, by path: `ReadDirectoryChangesW` and FSEvents, through `notify`.
//! A share's root is watched with all below it from the first folder on that the guest knows in it. Called by the backends.
//!
//! ```text
//!   system ─► notify's thread ─► channel ─► next(): path ─► foreign::Watched ─► folder's number, name, what happened
//! ```
//! A path says where something was when the report was made, and nothing is opened by it: the server looks for the name in the
//! folder that it holds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::virtio::fs::Errno;
use crate::virtio::fs::foreign::{Report, Watched};
use crate::virtio::fs::watching::{Begun, News, Seen, Watching};

/// Reports taken at once.
const MOST: usize = 512;

/// Paths of the roots of all shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Roots(Arc<Mutex<Vec<PathBuf>>>);

impl Roots {
    pub(super) fn add(&self, root: PathBuf) {
        lock(&self.0).push(root);
    }

    /// The root that a path lies below; of several the innermost.
    fn above(&self, path: &Path) -> Option<PathBuf> {
        let roots = lock(&self.0);
        roots.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len()).cloned()
    }
}

/// How a backend names things.
#[derive(Debug)]
pub(super) struct Names<N> {
    /// The path of a folder that is held, as the system reports it.
    pub(super) path: fn(&N) -> Result<PathBuf, Errno>,
    /// An entry's name as the guest sees it; `None` for what it does not see.
    pub(super) name: fn(&OsStr) -> Option<Vec<u8>>,
}

enum Said {
    Changed(notify::Result<Event>),
    Wake,
}

/// One queue of reports.
pub(super) struct Reports<N> {
    names: Names<N>,
    roots: Roots,
    watcher: Mutex<(RecommendedWatcher, Vec<PathBuf>)>,
    watched: Mutex<Watched>,
    says: Sender<Said>,
    said: Mutex<Receiver<Said>>,
}

impl<N> Reports<N> {
    /// `None` if the system has no reports for us.
    pub(super) fn new(roots: &Roots, names: Names<N>) -> Option<Self> {
        let (says, said) = channel();
        let changed = says.clone();
        // Once nobody listens any more, it is about to end.
        let tell = move |event| drop(changed.send(Said::Changed(event)));
        let watcher = notify::recommended_watcher(tell)
            .inspect_err(|error| tracing::warn!(%error, "Changes on the host are not reported to containers"))
            .ok()?;
        Some(Self {
            names,
            roots: roots.clone(),
            watcher: Mutex::new((watcher, Vec::new())),
            watched: Mutex::default(),
            says,
            said: Mutex::new(said),
        })
    }

    fn take(&self, said: Said, news: &mut News) {
        match said {
            Said::Wake => {}
            Said::Changed(Ok(event)) => self.take_event(&event, &mut news.seen),
            Said::Changed(Err(error)) => {
                tracing::debug!(%error, "Reports of changes were lost");
                news.lost = true;
            }
        }
    }

    fn take_event(&self, event: &Event, seen: &mut Vec<Seen>) {
        let mut watched = lock(&self.watched);
        for (report, path) in reports(event) {
            let is_folder = watched.is_folder(path) || path.symlink_metadata().is_ok_and(|there| there.is_dir());
            // A folder's content is its entries, which have reports of their own.
            if is_folder && matches!(report, Report::Content) {
                continue;
            }
            if let Some((watch, name, sight)) = watched.seen(report, path)
                && let Some(name) = (self.names.name)(&name)
            {
                seen.push(Seen { watch, name, sight, is_folder });
            }
        }
    }
}

/// What an event says of each of its paths.
fn reports(event: &Event) -> Vec<(Report, &Path)> {
    let all = |report: Report| event.paths.iter().map(|path| (report, path.as_path())).collect();
    match event.kind {
        EventKind::Create(_) => all(Report::Made),
        EventKind::Remove(_) => all(Report::Removed),
        EventKind::Modify(ModifyKind::Name(how)) => match (how, &event.paths[..]) {
            (RenameMode::Both, [from, to]) => vec![(Report::MovedFrom, from), (Report::MovedTo, to)],
            (RenameMode::From, _) => all(Report::MovedFrom),
            (RenameMode::To, _) => all(Report::MovedTo),
            // FSEvents tells both halves alike.
            (RenameMode::Both | RenameMode::Any | RenameMode::Other, paths) => {
                let half = |path: &PathBuf| path.symlink_metadata().map_or(Report::MovedFrom, |_| Report::MovedTo);
                paths.iter().map(|path| (half(path), path.as_path())).collect()
            }
        },
        EventKind::Modify(ModifyKind::Metadata(_)) => all(Report::Attributes),
        // Windows does not say what changed.
        EventKind::Modify(ModifyKind::Any | ModifyKind::Data(_) | ModifyKind::Other) => all(Report::Content),
        EventKind::Any | EventKind::Access(_) | EventKind::Other => Vec::new(),
    }
}

impl<N> Watching<N> for Reports<N> {
    fn add(&self, folder: &N) -> Result<Begun, Errno> {
        let path = (self.names.path)(folder)?;
        let root = self.roots.above(&path).ok_or(Errno::STALE)?;
        let mut watcher = lock(&self.watcher);
        if !watcher.1.contains(&root) {
            watcher.0.watch(&root, RecursiveMode::Recursive).map_err(|error| {
                tracing::warn!(%error, root = %root.display(), "Changes below this folder are not reported to containers");
                Errno::IO
            })?;
            watcher.1.push(root);
        }
        drop(watcher);
        // How much these systems leave out was not seen yet.
        Ok(Begun { watch: lock(&self.watched).add(path), all: false })
    }

    fn remove(&self, watch: u64) {
        lock(&self.watched).remove(watch);
    }

    fn next(&self, most: Option<Duration>) -> Result<News, Errno> {
        let said = lock(&self.said);
        let first = match most {
            None => said.recv().map_err(|_| Errno::IO)?,
            Some(most) => match said.recv_timeout(most) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Ok(News::default()),
                Err(RecvTimeoutError::Disconnected) => return Err(Errno::IO),
            },
        };
        let mut news = News::default();
        self.take(first, &mut news);
        for more in said.try_iter().take(MOST) {
            self.take(more, &mut news);
        }
        Ok(news)
    }

    fn wake(&self) {
        drop(self.says.send(Said::Wake));
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in here is whole at every point where something could panic.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
