//! How long the guest may believe what it is told of names and attributes.
//!
//! Nothing can tell a guest's kernel that it is to forget something; but what somebody changes here is repeated in the guest
//! (`events`), after which the guest asks again. So where every change is repeated, it may believe an answer for [`LONG`], else for
//! [`SHORT`]. Whether it is, is found out before the host is asked ([`Reported`]), and then holds for what the host said:
//!
//! ```text
//!                              name    attributes of a file    of a folder
//!   events are told in time     ×              ×                    ×        trust: somebody listens, nothing is late or lost
//!   the folder is watched       ×              ×                    ×        now, and all that happens to its entries is reported
//!   same file system            ×              ×                    ×        what is mounted there has no reports of ours
//!   names are UTF-8             ×              ×                    ×        others cannot be told to the agent
//!   not the guest's own act     ×              ×                    ×        lately: else a change counts as its own (own.rs)
//!   it has this name only                      ×                             by another one it changes without a report
//!   it is watched itself                                            ×        its times change with its entries
//! ```
//! Of a share's root neither is long: its own folder is not the guest's to know.

use std::time::{Duration, Instant};

use super::Server;
use super::places::Place;
use crate::virtio::fs::events::At;
use crate::virtio::fs::events::watch::Watch;
use crate::virtio::fs::fuse::reply::Lifetimes;
use crate::virtio::fs::host::{Attributes, HostFs, Identity, Kind};
use crate::virtio::fs::name::Name;

/// For what is not dependably reported. An edit here is seen after this at the latest.
const SHORT: Duration = Duration::from_secs(1);
/// For what is: in time for what a person does twice in a row, and also how long what no report tells can go unseen. That is
/// what is written through a mapping of a file into memory, or by a name that the file got in another folder after the
/// answer, or where something is mounted over it; and what was told before reports were lost, as when thousands of files
/// change at once, or before the agent did not answer.
const LONG: Duration = Duration::from_secs(3);

/// Both short.
pub(in crate::virtio::fs) const BRIEF: Lifetimes = Lifetimes { name: SHORT, attributes: SHORT };
/// Not to be believed beyond the request.
pub(in crate::virtio::fs) const ONCE: Lifetimes = Lifetimes { name: Duration::ZERO, attributes: Duration::ZERO };

/// From before this was made on, everything that happens to entries of this folder is repeated in the guest.
pub(in crate::virtio::fs) struct Reported<'a, N> {
    watch: &'a Watch<N>,
    folder: u64,
    device: u64,
    asked: Instant,
}

/// The same of one entry, with its name.
type ByName<'a, N> = (Reported<'a, N>, Box<[u8]>);

impl<N: Send + Sync + 'static> Reported<'_, N> {
    /// Of a name, whether there is something or not.
    fn of_name(&self, name: Name) -> Duration {
        let at = At { folder: self.folder, name: name.bytes().to_vec() };
        if std::str::from_utf8(name.bytes()).is_ok() && !self.watch.own.lately(&at, self.asked) { LONG } else { SHORT }
    }

    /// Of the attributes of what has this name, and is `node`.
    fn of_attributes(&self, name: Name, node: u64, attributes: &Attributes) -> Duration {
        let alone = match attributes.kind {
            Kind::Folder => attributes.links > 0 && self.watch.covers(node),
            Kind::File | Kind::Link => attributes.links == 1,
            Kind::Fifo | Kind::Socket | Kind::Character | Kind::Block => false,
        };
        if alone && self.is_here(attributes.identity) && !self.watch.own.lately_node(node, self.asked) {
            self.of_name(name)
        } else {
            SHORT
        }
    }

    fn is_here(&self, identity: Identity) -> bool {
        identity.device == self.device
    }
}

impl<H: HostFs> Server<H> {
    /// To be asked before the host is asked of anything in the folder.
    pub(super) fn reported(&self, folder: &Place<H::Node>) -> Option<Reported<'_, H::Node>> {
        let (watch, asked) = self.trusted()?;
        if !self.cover(watch, folder) {
            return None;
        }
        let device = self.nodes().tellable(folder.id)?.device;
        Some(Reported { watch, folder: folder.id, device, asked })
    }

    /// Whether somebody in the guest is told of what happens.
    pub(in crate::virtio::fs) fn listens(&self, listens: bool) {
        if let Some(watch) = self.watch.get() {
            watch.trust.listens(listens);
        }
    }

    fn trusted(&self) -> Option<(&Watch<H::Node>, Instant)> {
        let asked = Instant::now();
        let watch = self.watch.get().filter(|watch| watch.trust.holds(asked))?;
        Some((watch, asked))
    }

    /// Watches a folder that somebody looks into, if nobody has come to it yet.
    fn cover(&self, watch: &Watch<H::Node>, folder: &Place<H::Node>) -> bool {
        let covered = watch.cover(folder.id, &folder.held);
        // Also where not all is reported there is a watch to end.
        if !self.nodes().is_known(folder.id) {
            watch.end(folder.id);
        }
        covered
    }

    /// Of an entry that the guest is told of.
    pub(super) fn lifetimes(
        reported: Option<&Reported<H::Node>>,
        name: Name,
        node: u64,
        attributes: &Attributes,
    ) -> Lifetimes {
        let here = reported.filter(|reported| reported.is_here(attributes.identity));
        here.map_or(BRIEF, |reported| Lifetimes {
            name: reported.of_name(name),
            attributes: reported.of_attributes(name, node, attributes),
        })
    }

    /// Of a name that nothing has.
    pub(super) fn lifetime_of_nothing(reported: Option<&Reported<H::Node>>, name: Name) -> Duration {
        reported.map_or(SHORT, |reported| reported.of_name(name))
    }

    /// The attributes of a node, from `ask`, and how long they may be believed.
    pub(super) fn with_lifetime<E>(
        &self,
        place: &Place<H::Node>,
        ask: impl FnOnce() -> Result<Attributes, E>,
    ) -> Result<(Attributes, Duration), E> {
        let reported = self.reported_itself(place);
        let attributes = ask()?;
        let lifetime = reported
            .and_then(|(reported, name)| Some(reported.of_attributes(Name::new(&name).ok()?, place.id, &attributes)));
        Ok((attributes, lifetime.unwrap_or(SHORT)))
    }

    /// What is reported of a node by its own name, with that name; the parent is held by nobody here, so it has to be watched
    /// already.
    fn reported_itself(&self, place: &Place<H::Node>) -> Option<ByName<'_, H::Node>> {
        let (watch, asked) = self.trusted()?;
        let (parent, name, kind, device) = {
            let nodes = self.nodes();
            let (parent, name, kind) = nodes.only_name(place.id)?;
            (parent, name, kind, nodes.tellable(parent)?.device)
        };
        if kind == Kind::Folder && !self.cover(watch, place) {
            return None;
        }
        watch.covers(parent).then_some((Reported { watch, folder: parent, device, asked }, name))
    }
}
