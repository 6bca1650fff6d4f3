//! How a host reports what happens in folders, in terms that are the same on every system. `events::watch` asks for it; what
//! reports lies in `sys`, with each backend.

use std::time::Duration;

use super::errno::Errno;

/// What a host reports of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// An entry was made.
    Made,
    /// An entry was removed.
    Removed,
    /// An entry got another name; the other half has the same number.
    MovedFrom(u32),
    /// See [`MovedFrom`](Self::MovedFrom).
    MovedTo(u32),
    /// A file's content changed.
    Content,
    /// An entry's owner, mode or times changed.
    Attributes,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The watch.
    pub watch: u64,
    /// The entry's name.
    pub name: Vec<u8>,
    /// What happened to it.
    pub sight: Sight,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// A watch that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its number: the same one if the folder was watched already.
    pub watch: u64,
    /// Whether the folder's file system reports all that happens to its entries, whoever does it; else events are no more than
    /// a help.
    pub all: bool,
}

/// Reports that came together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct News {
    /// In their order.
    pub seen: Vec<Seen>,
    /// There were more than the host keeps for whoever is slow: some are missing, of any folder.
    pub lost: bool,
}

/// How a host reports changes of folders, whoever makes them.
pub trait Watching<N>: Send + Sync {
    /// Watches a folder's entries, not those below them. What happens from its return on is reported.
    fn add(&self, folder: &N) -> Result<Begun, Errno>;
    /// Watches it no more.
    fn remove(&self, watch: u64);
    /// Waits for reports, at most so long; none after [`wake`](Self::wake) and when the time is over. An error ends it for good.
    fn next(&self, most: Option<Duration>) -> Result<News, Errno>;
    /// Ends the wait.
    fn wake(&self);
}
