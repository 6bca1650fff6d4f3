//! Two threads: one watches every folder that the guest gets to know, as long as it knows it, the other reads what the host
//! reports of them and says what of it somebody else did. Nothing here holds up a request of the guest: both lag behind it by
//! moments, in which the lifetimes of names and attributes alone keep the guest's view fresh.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;

use tokio::sync::mpsc as channel;

use super::own::Own;
use super::{At, Happening};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::host::{HostFs, Kind, Seen, Sight, Watching};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::server::Server;

/// Happenings that wait for the guest; those that come when so many do are lost, as events are when nobody reads them.
const WAITING: usize = 4096;
/// Folders watched at once. Of further ones the guest learns when it looks.
const MOST: usize = 16_384;

/// What the server has while folders are watched.
pub struct Watch<N> {
    /// What the guest did itself.
    pub own: Own,
    watching: Box<dyn Watching<N>>,
    wishes: mpsc::Sender<Wish>,
    numbers: Mutex<Numbers>,
    over: AtomicBool,
}

enum Wish {
    Begin(u64),
    End(u64),
}

/// Watches by folder, and folders by watch.
#[derive(Default)]
struct Numbers {
    watches: HashMap<u64, u64>,
    folders: HashMap<u64, u64>,
}

impl<N: Send + Sync + 'static> Watch<N> {
    /// The guest knows this folder now.
    pub fn begin(&self, folder: u64) {
        // Nobody listens once it is over.
        let _ = self.wishes.send(Wish::Begin(folder));
    }

    /// The guest has forgotten it.
    pub fn end(&self, folder: u64) {
        let _ = self.wishes.send(Wish::End(folder));
    }

    /// Ends both threads.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Release);
        self.watching.wake();
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has been started, and what comes out of it.
type Started<N> = (Arc<Watch<N>>, channel::Receiver<Happening>);

/// Starts both threads; `None` if this host reports no changes. What happens comes out of the channel.
pub fn start<H: HostFs>(server: &Arc<Server<H>>) -> io::Result<Option<Started<H::Node>>> {
    let Some(watching) = server.host().watching() else { return Ok(None) };
    let (wishes, wished) = mpsc::channel();
    let watch = Arc::new(Watch {
        own: Own::default(),
        watching,
        wishes,
        numbers: Mutex::default(),
        over: AtomicBool::new(false),
    });
    let (happened, happenings) = channel::channel(WAITING);
    let (keeper, reader) =
        ((Arc::downgrade(server), Arc::downgrade(&watch)), (Arc::downgrade(server), Arc::clone(&watch)));
    thread::Builder::new().name("lighter-watches".into()).spawn(move || keep(&keeper.0, &keeper.1, &wished))?;
    thread::Builder::new().name("lighter-changes".into()).spawn(move || read(&reader.0, &reader.1, &happened))?;
    Ok(Some((watch, happenings)))
}

/// Does what was wished, until nobody can wish any more.
fn keep<H: HostFs>(server: &Weak<Server<H>>, watch: &Weak<Watch<H::Node>>, wished: &mpsc::Receiver<Wish>) {
    while let Ok(wish) = wished.recv() {
        let (Some(server), Some(watch)) = (server.upgrade(), watch.upgrade()) else { return };
        match wish {
            Wish::Begin(folder) => {
                let mut numbers = watch.numbers();
                if numbers.watches.contains_key(&folder) || numbers.watches.len() >= MOST {
                    continue;
                }
                drop(numbers);
                let Ok(held) = server.held(folder) else { continue };
                let Ok(number) = watch.watching.add(&held) else { continue };
                numbers = watch.numbers();
                numbers.watches.insert(folder, number);
                numbers.folders.insert(number, folder);
            }
            Wish::End(folder) => {
                let mut numbers = watch.numbers();
                if let Some(number) = numbers.watches.remove(&folder) {
                    // The same folder in two shares is watched once by the host.
                    if numbers.folders.get(&number) == Some(&folder) {
                        numbers.folders.remove(&number);
                        watch.watching.remove(number);
                    }
                }
            }
        }
    }
}

/// Reads reports and passes on what somebody else did.
fn read<H: HostFs>(server: &Weak<Server<H>>, watch: &Watch<H::Node>, happened: &channel::Sender<Happening>) {
    let mut lost: u64 = 0;
    while let Ok(seen) = watch.watching.next() {
        let Some(server) = server.upgrade().filter(|_| !watch.over.load(Ordering::Acquire)) else { return };
        for happening in others(&server, watch, seen) {
            if happened.is_closed() {
                return;
            }
            if happened.try_send(happening).is_err() {
                lost += 1;
                if lost.is_power_of_two() {
                    tracing::warn!(lost, "The guest does not keep up with changes of its folders: events are lost");
                }
            }
        }
    }
}

/// What of it the guest did not do itself.
fn others<H: HostFs>(server: &Server<H>, watch: &Watch<H::Node>, seen: Vec<Seen>) -> Vec<Happening> {
    let mut happenings = Vec::new();
    let mut moved: Option<(u32, At, Kind)> = None;
    for Seen { watch: number, name, sight, is_folder } in seen {
        let Some(folder) = watch.numbers().folders.get(&number).copied() else { continue };
        let at = At { folder, name };
        let kind = if is_folder { Kind::Folder } else { Kind::File };
        if watch.own.is_entry(&at) {
            continue;
        }
        match sight {
            Sight::Made => happenings.push(Happening::Made(at, kind)),
            Sight::Removed => happenings.push(Happening::Removed(at, kind)),
            Sight::MovedFrom(pair) => {
                happenings.extend(moved.take().map(|(_, at, kind)| Happening::Removed(at, kind)));
                moved = Some((pair, at, kind));
            }
            Sight::MovedTo(pair) => match moved.take() {
                Some((first, from, _)) if first == pair => happenings.push(Happening::Renamed(from, at)),
                other => {
                    happenings.extend(other.map(|(_, at, kind)| Happening::Removed(at, kind)));
                    happenings.push(Happening::Made(at, kind));
                }
            },
            Sight::Content | Sight::Attributes => {
                // What is there no more has its own report.
                let theirs = server.there(&at).is_some_and(|node| !node.is_some_and(|node| watch.own.is_node(node)));
                if theirs {
                    let content = matches!(sight, Sight::Content);
                    let happening = if content { Happening::Content(at) } else { Happening::Attributes(at) };
                    // A program that writes in many small pieces is reported for each.
                    if happenings.last() != Some(&happening) {
                        happenings.push(happening);
                    }
                }
            }
        }
    }
    happenings.extend(moved.map(|(_, at, kind)| Happening::Removed(at, kind)));
    happenings
}

impl<H: HostFs> Server<H> {
    /// Holds a folder that is to be watched.
    fn held(&self, folder: u64) -> Result<Arc<H::Node>, Errno> {
        self.hold(folder)
    }

    /// What is there now; and the guest's node for it, if it knows one.
    fn there(&self, at: &At) -> Option<Option<u64>> {
        let (folder, name) = (self.place(at.folder).ok()?, Name::new(&at.name).ok()?);
        let identity = self.see(&folder.held, name).ok()?.identity;
        Some(self.nodes().known_as(identity, &folder.share))
    }
}
