//! The guest's node ids and what they stand for. A node is known by its identity, its parent and its name, which takes memory
//! only; what is held of it on the host (a descriptor) is one of a bounded number, given up when others need it and found again
//! by name. What is found must then be the same object, or the node is stale: a name is never trusted twice.
//!
//! ```text
//!            look up, make                       forgotten, and no child left
//!   nothing ──────────────► known ⇄ held ───────────────────────────────────► nothing
//!                              (find again │ give up)        removed or replaced by the guest while known
//!                                          └──► pinned: held for as long as it is known ◄──┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::errno::Errno;
use super::host::{Identity, Kind};
use super::name::Name;
use super::shares::Share;

mod places;
mod reported;

use places::Places;

/// The node id of the file system's root (`FUSE_ROOT_ID`): the folder of shares, which is on no host.
pub const ROOT: u64 = 1;

/// All nodes that the guest knows.
pub struct Nodes<N> {
    known: HashMap<u64, Node<N>>,
    /// By share, too: one object in two of them is two nodes, one of which may be read only.
    by_identity: HashMap<(u64, Identity), u64>,
    /// Of all that are known.
    places: Places,
    /// Ids of held nodes that may be given up, those found longest ago first. Some may be held no more.
    held: VecDeque<u64>,
    holding: usize,
    pinned: usize,
    /// How many may be held, and how many of those pinned.
    limit: usize,
    next: u64,
    /// Whether somebody asks for the next two.
    noting: bool,
    /// Folders that the guest knows since it was last asked, and those that it knows no more.
    new_folders: Vec<u64>,
    lost_folders: Vec<u64>,
}

struct Node<N> {
    identity: Identity,
    kind: Kind,
    share: Arc<Share<N>>,
    parent: u64,
    name: Box<[u8]>,
    /// Whether it is known to have that name still, or else perhaps none, or one in another folder.
    named: bool,
    /// How often the guest was told of it and has not forgotten it since.
    lookups: u64,
    /// Known nodes whose parent this is.
    children: u64,
    held: Held<N>,
}

enum Held<N> {
    No,
    /// `true` if used since it was last considered for giving up.
    Yes(Arc<N>, bool),
    Pinned(Arc<N>),
}

/// What to do to get hold of a node.
pub enum Way<N> {
    /// Nothing.
    Here(Arc<N>),
    /// From a held folder these steps down, each to be checked; the last one is the node.
    Down(Arc<N>, Vec<Step>),
}

/// One step on the [`Way`].
pub struct Step {
    /// The node it leads to.
    pub node: u64,
    name: Box<[u8]>,
    /// What must be there.
    pub identity: Identity,
}

impl Step {
    /// The name to look for.
    pub fn name(&self) -> Name<'_> {
        Name::new(&self.name).expect("taken from a checked name")
    }
}

impl<N> Nodes<N> {
    /// No node but the root, of which nothing is stored. At most `limit` are held.
    pub fn new(limit: usize) -> Self {
        Self {
            known: HashMap::new(),
            by_identity: HashMap::new(),
            places: Places::default(),
            held: VecDeque::new(),
            holding: 0,
            pinned: 0,
            limit: limit.max(16),
            next: ROOT + 1,
            noting: false,
            new_folders: Vec::new(),
            lost_folders: Vec::new(),
        }
    }

    /// The same with nothing known: no number that was ever given stands for anything in it, whoever still comes with one.
    pub fn anew(&self) -> Self {
        Self { next: self.next, noting: self.noting, ..Self::new(self.limit) }
    }

    /// Which share a node lies in.
    pub fn share(&self, node: u64) -> Result<Arc<Share<N>>, Errno> {
        let share = &self.known.get(&node).ok_or(Errno::STALE)?.share;
        if share.is_gone() { Err(Errno::STALE) } else { Ok(Arc::clone(share)) }
    }

    /// The guest is told of what `name` in `parent` is: its id.
    pub fn found(&mut self, parent: u64, name: Name, (identity, kind): (Identity, Kind), share: &Arc<Share<N>>) -> u64 {
        if let Some(&id) = self.by_identity.get(&(share.id(), identity))
            && let Some(node) = self.known.get_mut(&id)
        {
            node.lookups += 1;
            self.move_to(id, parent, name);
            return id;
        }
        let id = self.next;
        self.next += 1;
        if self.noting && kind == Kind::Folder {
            self.new_folders.push(id);
        }
        let node = Node {
            identity,
            kind,
            share: Arc::clone(share),
            parent,
            name: name.bytes().into(),
            named: true,
            lookups: 1,
            children: 0,
            held: Held::No,
        };
        self.places.add(parent, &node.name, id);
        self.known.insert(id, node);
        self.by_identity.insert((share.id(), identity), id);
        self.adopt(parent);
        id
    }

    /// The share's root: known as long as the guest says, and held as long as the share is.
    pub fn found_share(&mut self, share: &Arc<Share<N>>, name: Name, identity: Identity) -> u64 {
        let id = self.found(ROOT, name, (identity, Kind::Folder), share);
        if let Some(node) = self.known.get_mut(&id) {
            self.holding += usize::from(matches!(node.held, Held::No));
            if !matches!(node.held, Held::Pinned(_)) {
                self.pinned += 1;
            }
            node.held = Held::Pinned(Arc::clone(share.root()));
        }
        id
    }

    /// The guest forgets a node `count` times.
    pub fn forget(&mut self, id: u64, count: u64) {
        let Some(node) = self.known.get_mut(&id) else { return };
        node.lookups = node.lookups.saturating_sub(count);
        self.let_go(id);
    }

    /// What has to be done to hold a node.
    pub fn way(&mut self, id: u64) -> Result<Way<N>, Errno> {
        let mut steps = Vec::new();
        let mut at = id;
        loop {
            let node = self.known.get_mut(&at).ok_or(Errno::STALE)?;
            let held = match &mut node.held {
                Held::Yes(held, used) => {
                    *used = true;
                    Some(Arc::clone(held))
                }
                Held::Pinned(held) => Some(Arc::clone(held)),
                Held::No => None,
            };
            if let Some(held) = held {
                steps.reverse();
                return Ok(if steps.is_empty() { Way::Here(held) } else { Way::Down(held, steps) });
            }
            steps.push(Step { node: at, name: node.name.clone(), identity: node.identity });
            at = node.parent;
        }
    }

    /// A node is held now. Returns what is held of it, which may be what someone else was faster with.
    pub fn hold(&mut self, id: u64, held: N) -> Arc<N> {
        let held = Arc::new(held);
        let Some(node) = self.known.get_mut(&id) else { return held };
        match &node.held {
            Held::Yes(first, _) | Held::Pinned(first) => return Arc::clone(first),
            Held::No => {}
        }
        node.held = Held::Yes(Arc::clone(&held), true);
        self.holding += 1;
        self.held.push_back(id);
        while self.holding > self.limit {
            if !self.give_one_up() {
                break;
            }
        }
        held
    }

    /// The guest has removed or replaced what has this identity: nothing finds it by name any more, so it stays held as long as
    /// it is known. `None` if the guest does not know it, or if too many are held so: then it will be stale.
    pub fn doomed(&self, identity: Identity, share: &Share<N>) -> Option<u64> {
        let id = *self.by_identity.get(&(share.id(), identity))?;
        (self.pinned < self.limit / 2).then_some(id)
    }

    /// See [`doomed`](Self::doomed).
    pub fn pin(&mut self, id: u64, held: N) {
        let held = self.hold(id, held);
        let Some(node) = self.known.get_mut(&id) else { return };
        if !matches!(node.held, Held::Pinned(_)) {
            // It is counted already, as held.
            self.pinned += 1;
            node.held = Held::Pinned(held);
        }
        node.named = false;
    }

    /// What has this identity has another name now.
    pub fn renamed(&mut self, identity: Identity, share: &Share<N>, parent: u64, name: Name) {
        if let Some(&id) = self.by_identity.get(&(share.id(), identity)) {
            self.move_to(id, parent, name);
        }
    }

    /// How many are known, and how many of them held.
    pub fn count(&self) -> (usize, usize) {
        (self.known.len(), self.holding)
    }

    fn move_to(&mut self, id: u64, parent: u64, name: Name) {
        // A folder below itself is what a hostile host at most can make; following it would never end.
        let mut above = parent;
        while above != ROOT {
            if above == id {
                return;
            }
            let Some(node) = self.known.get(&above) else { break };
            above = node.parent;
        }
        let Some(node) = self.known.get_mut(&id) else { return };
        node.named = true;
        let before = std::mem::replace(&mut node.parent, parent);
        if before != parent || *node.name != *name.bytes() {
            self.places.remove(before, &node.name, id);
            self.places.add(parent, name.bytes(), id);
            node.name = name.bytes().into();
        }
        if before != parent {
            self.adopt(parent);
            self.orphan(before);
        }
    }

    fn adopt(&mut self, parent: u64) {
        if let Some(parent) = self.known.get_mut(&parent) {
            parent.children += 1;
        }
    }

    fn orphan(&mut self, parent: u64) {
        if let Some(node) = self.known.get_mut(&parent) {
            node.children -= 1;
            self.let_go(parent);
        }
    }

    /// Removes a node that nobody needs, and those above it that only it needed.
    fn let_go(&mut self, id: u64) {
        let mut at = id;
        while let Some(node) = self.known.get(&at)
            && node.lookups == 0
            && node.children == 0
        {
            let node = self.known.remove(&at).expect("just seen");
            if self.noting && node.kind == Kind::Folder {
                self.lost_folders.push(at);
            }
            self.by_identity.remove(&(node.share.id(), node.identity));
            self.places.remove(node.parent, &node.name, at);
            self.holding -= usize::from(!matches!(node.held, Held::No));
            self.pinned -= usize::from(matches!(node.held, Held::Pinned(_)));
            at = node.parent;
            if let Some(parent) = self.known.get_mut(&at) {
                parent.children -= 1;
            }
        }
        // Ids of what is gone must not pile up in the row of those that may be given up.
        if self.held.len() > 2 * self.holding + 64 {
            let known = &self.known;
            self.held.retain(|id| known.get(id).is_some_and(|node| matches!(node.held, Held::Yes(..))));
        }
    }

    /// Gives up the node that was used least recently, about. `false` if none can be.
    fn give_one_up(&mut self) -> bool {
        for _ in 0..2 * self.held.len() {
            let Some(id) = self.held.pop_front() else { return false };
            let Some(node) = self.known.get_mut(&id) else { continue };
            match &mut node.held {
                Held::Yes(_, used) if *used => {
                    *used = false;
                    self.held.push_back(id);
                }
                Held::Yes(..) => {
                    node.held = Held::No;
                    self.holding -= 1;
                    return true;
                }
                Held::No | Held::Pinned(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
