//! Changes on the host become events in the guest. A guest's kernel raises inotify events for what its own programs do, and
//! nothing else; so the agent does once more, in the guest, what somebody did on the host, and the server answers it without
//! doing it. Programs see the true kind of event, on the true object, and caches are renewed on the way.
//!
//! ```text
//!   host ─► watch ─► Happening ─► the daemon ─► agent ─► guest's kernel ─► FUSE request of the agent's thread
//!             │ not what the guest did itself (own, doubts)                    │
//!             └─ folders that the guest knows (nodes)                          └─► echo: answered, not done
//! ```
//! Whether all this works just now decides how long the guest may believe what it is told (trust, and the server's lifetimes).
//!
//! Before much of it is told one by one, the agent looks at all of it at once (backlog).
//!
//! One happening at a time is armed; only requests of the agent's one thread, and only those that belong to it, are answered
//! so. What else that thread looks at is shown to it as to everybody, and what else it would change is refused (herald).

mod backlog;
pub(super) mod doubts;
pub(super) mod echo;
pub(super) mod herald;
pub(super) mod own;
mod trust;
pub(super) mod watch;

pub use trust::Waiting;
pub use watch::Happenings;

use super::host::Kind;

/// An entry of a folder that the guest knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct At {
    /// The folder's node id.
    pub folder: u64,
    /// The entry's name.
    pub name: Vec<u8>,
}

/// What somebody on the host did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// There is something new.
    Made(At, Kind),
    /// Something is gone.
    Removed(At, Kind),
    /// Something has another name, perhaps in another folder that the guest knows.
    Renamed(At, At),
    /// A file has other content.
    Content(At),
    /// Owner, mode or times are others.
    Attributes(At),
}

/// What the agent's thread does just now.
#[derive(Debug, Clone)]
pub(super) enum Armed {
    /// It repeats this.
    One(Happening),
    /// It looks at much that is outdated.
    Outdated,
}
