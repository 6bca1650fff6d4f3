//! Much at once. To tell a thousand happenings one by one takes the guest a second, in which it believes what it was told of each
//! before: it would list what was removed long ago, and go by a length that no file has any more. So before they are told, the
//! agent looks at once at all that they are about, which takes a request or two for each folder and changed file. A list that
//! its kernel keeps is an old one when the folder has another time; one that it took in the very tick of the host's clock in which the
//! folder changed last stays until it is told.
//!
//! Nothing is raised by that. What is gone is shown as it was, because it is to go with its own happening, of which those hear
//! who watch it.

use std::collections::{HashMap, HashSet};

use lighter_protocol::{Outdated, Raise};

use super::{Armed, At, Happening};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::fuse::reply::Payload;
use crate::virtio::fs::fuse::request::{Header, Operation};
use crate::virtio::fs::host::HostFs;
use crate::virtio::fs::name::Name;
use crate::virtio::fs::nodes::ROOT;
use crate::virtio::fs::server::lifetimes::ONCE;
use crate::virtio::fs::server::{Answer, Server};

/// Fewer are told as soon as they could be looked at.
const MANY: usize = 16;
/// Most of one message, in bytes of names, each of which may be six times as long in it. A message may have 256 KiB.
const MOST: usize = 32 << 10;
/// Most steps of one message, down to folders and to their entries, unless one path alone is longer. Each may be a request or two,
/// and an answer is waited for only as long as one change might take.
const STEPS: usize = 512;
/// Most entries of one folder in a piece. With the longest path it is less than a message.
const PIECE: usize = 64;

impl<H: HostFs> Server<H> {
    /// What the agent is to look at before it is told of all this: nothing if it is little.
    pub fn outdated(&self, happenings: &[&Happening]) -> Vec<Raise> {
        if happenings.len() < MANY {
            return Vec::new();
        }
        let all = by_folder(happenings);
        let told: Vec<_> = {
            let nodes = self.nodes();
            let known = |folder, names: Vec<String>| {
                let path = String::from_utf8(nodes.path(folder)?).ok()?;
                // Of others the kernel has nothing that could be old.
                let names = names.into_iter().filter(|name| nodes.child(folder, name.as_bytes()).is_some());
                Some((path, names.collect()))
            };
            all.into_iter().filter_map(|(folder, names)| known(folder, names)).collect()
        };
        in_messages(told)
    }

    /// The agent does that now.
    pub fn arm_outdated(&self) {
        self.set_armed(Some(Armed::Outdated));
    }

    /// The answer to a request of the agent that looks at what is outdated; `None` for what everybody would be answered.
    pub(super) fn echo_outdated(&self, header: &Header, operation: &Operation) -> Option<Answer> {
        match operation {
            Operation::Lookup { name } => self.gone_but_known(header.node, *name),
            Operation::GetAttr { .. } => self.without_a_link(header.node),
            _ => None,
        }
    }

    /// What is removed, with one link still: without, the kernel would tell those who watch it that it is gone before it tells them
    /// of its entries.
    fn without_a_link(&self, node: u64) -> Option<Answer> {
        let mut attributes = self.host().attributes(&self.place(node).ok()?.held).ok()?;
        if attributes.links > 0 {
            return None;
        }
        attributes.links = 1;
        Some(Answer::Payload(Payload::attributes(self.shown(&attributes), ONCE.attributes)))
    }

    /// What the guest knew by a name that nothing has any more.
    fn gone_but_known(&self, folder: u64, name: Name) -> Option<Answer> {
        // Shares are not reported.
        if folder == ROOT {
            return None;
        }
        let there = self.place(folder).and_then(|place| self.see(&place.held, name));
        if !matches!(there, Err(Errno::NOENT | Errno::STALE)) {
            return None;
        }
        let (node, kind) = self.nodes().told_child(folder, name.bytes())?;
        Some(self.as_it_was(node, kind))
    }
}

/// Folders in which something happened, each once and in order, with those of their entries of which nothing but content or
/// attributes changed.
fn by_folder(happenings: &[&Happening]) -> Vec<(u64, Vec<String>)> {
    let mut all: Vec<(u64, Vec<String>)> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut listed = HashSet::new();
    let others: HashSet<&At> = happenings.iter().copied().flat_map(others).collect();
    for at in happenings.iter().copied().flat_map(entries) {
        let place = *places.entry(at.folder).or_insert_with(|| {
            all.push((at.folder, Vec::new()));
            all.len() - 1
        });
        if !others.contains(at)
            && let Ok(name) = str::from_utf8(&at.name)
            && listed.insert(at)
        {
            all[place].1.push(name.to_owned());
        }
    }
    all
}

/// Entries whose names stand for something else since.
fn others(happening: &Happening) -> impl Iterator<Item = &At> {
    let changes = !matches!(happening, Happening::Content(_) | Happening::Attributes(_));
    entries(happening).filter(move |_| changes)
}

fn entries(happening: &Happening) -> impl Iterator<Item = &At> {
    let (first, second) = match happening {
        Happening::Made(at, _) | Happening::Removed(at, _) | Happening::Content(at) | Happening::Attributes(at) => {
            (at, None)
        }
        Happening::Renamed(from, to) => (from, Some(to)),
    };
    std::iter::once(first).chain(second)
}

/// As many messages as it takes. A folder with many entries comes in pieces.
fn in_messages(all: Vec<(String, Vec<String>)>) -> Vec<Raise> {
    let mut messages: Vec<Vec<Outdated>> = Vec::new();
    let (mut room, mut places) = (0, 0);
    for (folder, entries) in all {
        let pieces = entries.chunks(PIECE).map(<[String]>::to_vec);
        for entries in pieces.chain(entries.is_empty().then(Vec::new)) {
            let size = folder.len() + entries.iter().map(String::len).sum::<usize>();
            let number = folder.split('/').count() + entries.len();
            if messages.is_empty() || size > room || number > places {
                messages.push(Vec::new());
                (room, places) = (MOST, STEPS);
            }
            (room, places) = (room.saturating_sub(size), places.saturating_sub(number));
            if let Some(message) = messages.last_mut() {
                message.push(Outdated { folder: folder.clone(), entries });
            }
        }
    }
    messages.into_iter().map(|folders| Raise::Outdated { folders }).collect()
}

#[cfg(test)]
mod tests {
    use lighter_protocol::wire;

    use super::*;
    use crate::virtio::fs::host::Kind;

    fn at(folder: u64, name: &str) -> At {
        At { folder, name: name.into() }
    }

    #[test]
    fn folders_come_once_with_what_changed_and_is_the_same_entry_still() {
        let content = |folder, name| Happening::Content(at(folder, name));
        let happenings = [
            Happening::Removed(at(5, "gone"), Kind::File),
            content(3, "text"),
            Happening::Attributes(at(3, "mode")),
            content(3, "text"),
            content(5, "gone"),
            Happening::Renamed(at(7, "new"), at(3, "replaced")),
            content(3, "replaced"),
        ];
        let told = by_folder(&happenings.iter().collect::<Vec<_>>());
        let names = |names: &[&str]| names.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(told, [(5, names(&[])), (3, names(&["text", "mode"])), (7, names(&[]))]);
    }

    #[test]
    fn names_of_any_length_and_number_fit_in_messages_and_none_is_lost() {
        let folder = |number: usize| format!("{number}/{}", "\u{1}".repeat(4000));
        let entry = |number: usize| format!("{number:04}{}", "\u{1}".repeat(251));
        let all: Vec<_> = (0..20).map(|number| (folder(number), (0..number * 20).map(entry).collect())).collect();
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        for message in in_messages(all.clone()) {
            wire::encode(&message).expect("it fits");
            let Raise::Outdated { folders } = message else { panic!("another message") };
            assert!(folders.iter().map(|outdated| 2 + outdated.entries.len()).sum::<usize>() <= STEPS);
            for Outdated { folder, entries } in folders {
                match told.last_mut() {
                    Some((last, before)) if *last == folder => before.extend(entries),
                    _ => told.push((folder, entries)),
                }
            }
        }
        assert_eq!(told, all);
    }
}
