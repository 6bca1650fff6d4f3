//! Messages about changes in shared folders, which the guest's kernel is to make events of. The connection begins as a control
//! request ([`crate::Request::Herald`]); the agent says which of its threads serves it, and then does one [`Raise`] after the
//! other and answers each with [`Raised`].

use serde::{Deserialize, Serialize};

/// An entry of a shared folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its folder: a share's name and the folders below it, divided by `/`.
    pub folder: String,
    /// Its own name.
    pub name: String,
}

/// What an entry is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// What happened on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "raise", rename_all = "snake_case")]
pub enum Raise {
    /// An entry is new.
    Made {
        /// Which.
        at: Place,
        /// What.
        kind: EntryKind,
    },
    /// An entry is gone.
    Removed {
        /// Which.
        at: Place,
        /// What it was.
        kind: EntryKind,
    },
    /// An entry has another name.
    Renamed {
        /// The old one.
        from: Place,
        /// The new one.
        to: Place,
    },
    /// A file has other content.
    Content {
        /// Which.
        at: Place,
    },
    /// An entry has another owner, mode or time.
    Attributes {
        /// Which.
        at: Place,
    },
    /// So much happened that it takes a while to tell: what the kernel keeps of all this is old. No event is made.
    Outdated {
        /// Where.
        folders: Vec<Outdated>,
    },
}

/// What is to be asked for anew: the folder itself, and some of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outdated {
    /// A share's name and the folders below it, divided by `/`.
    pub folder: String,
    /// Names.
    pub entries: Vec<String>,
}

/// The agent has done what it could; the number is that of the error that stopped it, if one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// Linux's.
    pub errno: Option<i32>,
}
