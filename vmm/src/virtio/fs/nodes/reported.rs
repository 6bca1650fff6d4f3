//! What events ask of the nodes: which folders are to be watched, what the guest knows by a name, and what can be told of it.

use std::sync::Arc;

use super::{Node, Nodes, ROOT};
use crate::virtio::fs::host::{Identity, Kind};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::shares::Share;

/// Bytes of the longest path that the agent can open, with the byte that ends it.
const LONGEST_PATH: usize = 4096;

impl<N> Nodes<N> {
    /// From now on [`folders`](Self::folders) is asked for.
    pub fn note_folders(&mut self) {
        self.noting = true;
    }

    /// Folders that are known since this was last asked, and those that are no more.
    pub fn folders(&mut self) -> (Vec<u64>, Vec<u64>) {
        (std::mem::take(&mut self.new_folders), std::mem::take(&mut self.lost_folders))
    }

    /// All folders that are known.
    pub fn all_folders(&self) -> Vec<u64> {
        self.known.iter().filter(|(_, node)| node.kind == Kind::Folder).map(|(id, _)| *id).collect()
    }

    /// The id of what has this identity.
    pub fn known_as(&self, identity: Identity, share: &Share<N>) -> Option<u64> {
        self.by_identity.get(&(share.id(), identity)).copied()
    }

    /// The same, and the guest is told of it once more.
    pub fn told(&mut self, identity: Identity, share: &Share<N>) -> Option<u64> {
        let id = self.known_as(identity, share)?;
        self.known.get_mut(&id)?.lookups += 1;
        Some(id)
    }

    /// What the guest knows by this name.
    pub fn child(&self, folder: u64, name: &[u8]) -> Option<(u64, Kind)> {
        self.child_but(folder, name, [None, None])
    }

    /// The same, but for these. What was replaced keeps its name here as long as somebody has it open: meant is what has the name
    /// now, or else what had it last.
    pub fn child_but(&self, folder: u64, name: &[u8], others: [Option<u64>; 2]) -> Option<(u64, Kind)> {
        let all = self.at(folder, name).filter(|(id, _)| !others.contains(&Some(*id)));
        let (id, node) = all.max_by_key(|(id, node)| (node.named, *id))?;
        Some((id, node.kind))
    }

    fn at(&self, folder: u64, name: &[u8]) -> impl Iterator<Item = (u64, &Node<N>)> {
        let all = self.places.at(folder, name).filter_map(|id| Some((id, self.known.get(&id)?)));
        all.filter(move |(_, node)| node.parent == folder && *node.name == *name)
    }

    /// The same, and the guest is told of it once more.
    pub fn told_child(&mut self, folder: u64, name: &[u8]) -> Option<(u64, Kind)> {
        let (id, kind) = self.child(folder, name)?;
        self.known.get_mut(&id)?.lookups += 1;
        Some((id, kind))
    }

    /// The guest is told of a node once more.
    pub fn tell_again(&mut self, id: u64) {
        if let Some(node) = self.known.get_mut(&id) {
            node.lookups += 1;
        }
    }

    /// If `name` in `folder` is, or was, on the way down to `end`: which node it is.
    pub fn step_towards(&self, end: u64, folder: u64, name: Name) -> Option<(u64, Identity)> {
        let mut at = end;
        loop {
            let node = self.known.get(&at)?;
            if node.parent == folder && *node.name == *name.bytes() {
                return Some((at, node.identity));
            }
            at = node.parent;
        }
    }

    /// A node for what there is no more and the guest did not know: nothing finds it.
    pub fn ghost(&mut self, folder: u64, name: &[u8], kind: Kind, share: &Arc<Share<N>>) -> u64 {
        let identity = Identity { device: u64::MAX, inode: self.next, birth: 0 };
        Name::new(name).map_or(self.next, |name| self.found(folder, name, (identity, kind), share))
    }

    /// A folder's way from the root: names divided by `/`. `None` also of one that is longer than the guest's kernel takes.
    pub fn path(&self, folder: u64) -> Option<Vec<u8>> {
        let mut names = self.way_up(folder).collect::<Option<Vec<_>>>()?;
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// The names of a folder and of those that it lies in, from the last; one that is `None` ends it.
    fn way_up(&self, folder: u64) -> impl Iterator<Item = Option<&[u8]>> {
        let mut at = Some(folder);
        let mut length = 0;
        std::iter::from_fn(move || {
            let of = at.filter(|of| *of != ROOT)?;
            let node = self.known.get(&of).filter(|node| {
                length += node.name.len() + 1;
                length <= LONGEST_PATH
            });
            at = node.map(|node| node.parent);
            Some(node.map(|node| &*node.name))
        })
    }

    /// Whether the guest knows it.
    pub fn is_known(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }

    /// The folder's identity, if the agent can be told where it is: all names on the way from the root are UTF-8, and it is no longer
    /// than a path may be.
    pub fn tellable(&self, folder: u64) -> Option<Identity> {
        if !self.way_up(folder).all(|name| name.is_some_and(|name| str::from_utf8(name).is_ok())) {
            return None;
        }
        Some(self.known.get(&folder)?.identity)
    }

    /// Folder and name of a node, with what it is; `None` if it may have lost that name.
    pub fn only_name(&self, id: u64) -> Option<(u64, Box<[u8]>, Kind)> {
        let node = self.known.get(&id).filter(|node| node.named)?;
        Some((node.parent, node.name.clone(), node.kind))
    }

    /// Somebody on the host took this name away, or gave it to something else: what the guest knew by it, if it did.
    pub fn lost_name(&mut self, folder: u64, name: &[u8]) -> Option<Kind> {
        let lost = self.child(folder, name)?.1;
        let all: Vec<u64> = self.at(folder, name).map(|(id, _)| id).collect();
        for id in all {
            if let Some(node) = self.known.get_mut(&id) {
                node.named = false;
            }
        }
        Some(lost)
    }
}
