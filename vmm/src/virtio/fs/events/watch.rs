//! Two threads: one watches every folder that the guest gets to know, as long as it knows it, the other reads what the host
//! reports of them and says what of it somebody else did. Both lag behind the guest by moments, in which the short lifetimes of
//! names and attributes alone keep its view fresh. A folder that the guest looks into before the first thread has come to it is
//! watched by that request itself, so that all that it says may be believed for long.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc as channel;

use super::doubts::{Doubt, Doubts};
use super::own::Own;
use super::trust::{Trust, Waiting};
use super::{At, Happening};
use crate::virtio::fs::errno::Errno;
use crate::virtio::fs::host::{Attributes, HostFs, Kind};
use crate::virtio::fs::name::Name;
use crate::virtio::fs::server::Server;
use crate::virtio::fs::watching::{Begun, News, Seen, Sight, Watching};

/// Happenings that wait for the guest; those that come when so many do are lost, as events are when nobody reads them.
const WAITING: usize = 4096;
/// How long the second half of a renaming is waited for.
const HALVES: Duration = Duration::from_millis(10);
/// How long to let reports come together where all that came was the guest's own doing: it does much in a row, such as writing a
/// file in pieces, and waking up for each costs more than the write. Much less than for how long an act counts as its own.
const TOGETHER: Duration = Duration::from_millis(5);
/// Folders watched at once. Of further ones the guest learns when it looks.
const MOST: usize = 16_384;

/// What the server has while folders are watched.
pub struct Watch<N> {
    /// What the guest did itself.
    pub own: Own,
    /// Names that it has just given.
    pub doubts: Doubts,
    /// Whether what happens is told in time.
    pub trust: Arc<Trust>,
    watching: Box<dyn Watching<N>>,
    wishes: mpsc::Sender<Wish>,
    /// Held while the host is asked to begin or to end a watch: it may take for ever, where a server is gone that it waits for.
    /// Nobody who has `numbers` waits for this one.
    turn: Mutex<()>,
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
    /// `None`: the host would not.
    watches: HashMap<u64, Option<Begun>>,
    folders: HashMap<u64, u64>,
}

impl Numbers {
    /// Whether nobody has tried, and one more may be.
    fn is_wanted(&self, folder: u64) -> bool {
        !self.watches.contains_key(&folder) && self.watches.len() < MOST
    }

    /// Whether all that happens to the folder's entries is reported as its own. The same folder in two shares is two folders here
    /// and one for the host, which tells of one of them.
    fn covers(&self, folder: u64) -> bool {
        let begun = self.watches.get(&folder).copied().flatten();
        begun.is_some_and(|begun| begun.all && self.folders.get(&begun.watch) == Some(&folder))
    }
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

    /// Whether all that happens to its entries from now on is reported.
    pub fn covers(&self, folder: u64) -> bool {
        self.numbers().covers(folder)
    }

    /// The same, and if nobody has tried yet, it is watched from now on, unless the host is busy with another one. What is begun so
    /// has to be ended if the guest has forgotten it meanwhile.
    pub fn cover(&self, folder: u64, held: &N) -> bool {
        // A turn, so that nobody ends a watch that has just been found to be there.
        if self.numbers().is_wanted(folder)
            && let Ok(_turn) = self.turn.try_lock()
            && self.numbers().is_wanted(folder)
        {
            let begun = self.watching.add(held).ok();
            let mut numbers = self.numbers();
            numbers.watches.insert(folder, begun);
            if let Some(begun) = begun {
                numbers.folders.insert(begun.watch, folder);
            }
        }
        self.numbers().covers(folder)
    }

    /// Whether its changes are reported by now.
    #[cfg(test)]
    pub fn is_watched(&self, folder: u64) -> bool {
        self.numbers().watches.get(&folder).is_some_and(Option::is_some)
    }

    /// Whether somebody has tried to watch it, or nobody should.
    pub fn is_settled(&self, folder: u64) -> bool {
        !self.numbers().is_wanted(folder)
    }

    fn remove(&self, folder: u64) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = self.numbers();
        let Some(Begun { watch, .. }) = numbers.watches.remove(&folder).flatten() else { return };
        // The same folder in two shares is watched once by the host.
        if numbers.folders.get(&watch) == Some(&folder) {
            numbers.folders.remove(&watch);
            drop(numbers);
            self.watching.remove(watch);
        }
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

/// What happens, for whoever has it told in the guest; once this is dropped, nobody has.
#[derive(Debug)]
pub struct Happenings {
    happened: channel::Receiver<(Happening, Waiting)>,
    trust: Arc<Trust>,
}

impl Happenings {
    /// The next one, which waits to be told for as long as what comes with it is kept; `None` once nothing is reported any more.
    pub async fn next(&mut self) -> Option<(Happening, Waiting)> {
        self.happened.recv().await
    }

    /// The same, if it is there already.
    pub fn next_now(&mut self) -> Option<(Happening, Waiting)> {
        self.happened.try_recv().ok()
    }
}

impl Drop for Happenings {
    fn drop(&mut self) {
        self.trust.over();
    }
}

/// What has been started, and what comes out of it.
type Started<N> = (Arc<Watch<N>>, Happenings);

/// Starts both threads; `None` if this host reports no changes. What happens comes out of the channel.
pub fn start<H: HostFs>(server: &Arc<Server<H>>) -> io::Result<Option<Started<H::Node>>> {
    let Some(watching) = server.host().watching() else { return Ok(None) };
    let (wishes, wished) = mpsc::channel();
    let trust = Arc::new(Trust::default());
    let watch = Arc::new(Watch {
        own: Own::default(),
        doubts: Doubts::default(),
        trust: Arc::clone(&trust),
        watching,
        wishes,
        turn: Mutex::default(),
        numbers: Mutex::default(),
        over: AtomicBool::new(false),
    });
    let (happened, happenings) = channel::channel(WAITING);
    let (keeper, reader) =
        ((Arc::downgrade(server), Arc::downgrade(&watch)), (Arc::downgrade(server), Arc::clone(&watch)));
    thread::Builder::new().name("lighter-watches".into()).spawn(move || keep(&keeper.0, &keeper.1, &wished))?;
    thread::Builder::new().name("lighter-changes".into()).spawn(move || read(&reader.0, &reader.1, &happened))?;
    Ok(Some((watch, Happenings { happened: happenings, trust })))
}

/// Does what was wished, until nobody can wish any more.
fn keep<H: HostFs>(server: &Weak<Server<H>>, watch: &Weak<Watch<H::Node>>, wished: &mpsc::Receiver<Wish>) {
    while let Ok(wish) = wished.recv() {
        let (Some(server), Some(watch)) = (server.upgrade(), watch.upgrade()) else { return };
        match wish {
            Wish::Begin(folder) => {
                if !watch.is_settled(folder)
                    && let Ok(held) = server.held(folder)
                {
                    watch.cover(folder, &held);
                }
            }
            Wish::End(folder) => watch.remove(folder),
        }
    }
}

/// The other end of [`Happenings`].
type Teller = channel::Sender<(Happening, Waiting)>;

/// Reads reports and passes on what somebody else did. Without it nothing of what happens is known.
fn read<H: HostFs>(server: &Weak<Server<H>>, watch: &Watch<H::Node>, happened: &Teller) {
    read_on(server, watch, happened);
    watch.trust.over();
}

fn read_on<H: HostFs>(server: &Weak<Server<H>>, watch: &Watch<H::Node>, happened: &Teller) {
    let (mut lost, mut missing, mut moved): (u64, u64, _) = (0, 0, None);
    // The second half of a renaming follows the first at once, but not always in the same read.
    loop {
        let most = moved.as_ref().map(|_| HALVES).or_else(|| watch.doubts.next(Instant::now()));
        let Ok(News { seen, lost: missed }) = watch.watching.next(most) else { return };
        let now = Instant::now();
        if missed {
            watch.trust.lost(now);
            missing += 1;
            if missing.is_power_of_two() {
                tracing::warn!(times = missing, "More changes in folders than this computer reports: events are lost");
            }
        }
        let Some(server) = server.upgrade().filter(|_| !watch.over.load(Ordering::Acquire)) else { return };
        let doubted = watch.doubts.due(now).into_iter().flat_map(|(at, doubt)| not_there(&server, watch, at, doubt));
        let reported = !seen.is_empty();
        let others = others(&server, watch, seen, &mut moved);
        let only_own = reported && others.is_empty() && moved.is_none();
        for happening in others.into_iter().chain(doubted) {
            if happened.is_closed() {
                return;
            }
            if happened.try_send((happening, watch.trust.one_waits(now))).is_err() {
                watch.trust.lost(now);
                lost += 1;
                if lost.is_power_of_two() {
                    tracing::warn!(lost, "The guest does not keep up with changes of its folders: events are lost");
                }
            }
        }
        drop(server);
        if only_own {
            thread::sleep(TOGETHER);
        }
    }
}

/// What became of a name that the guest has given, if it is not what the guest put there.
fn not_there<H: HostFs>(server: &Server<H>, watch: &Watch<H::Node>, at: At, doubt: Doubt) -> Vec<Happening> {
    let there = match server.attributes_at(&at) {
        Ok(there) if there.identity == doubt.identity => return Vec::new(),
        Ok(there) => Some(Happening::Made(at.clone(), there.kind)),
        Err(Errno::NOENT) => None,
        Err(_) => return Vec::new(),
    };
    // It may be the guest that has just taken it away.
    if watch.own.lately(&at, Instant::now()) {
        return Vec::new();
    }
    [Happening::Removed(at, doubt.kind)].into_iter().chain(there).collect()
}

/// The first half of a renaming: its number, what was renamed, and what that is.
type Half = (u32, At, Kind);

/// What of it the guest did not do itself. A half of a renaming that comes last waits in `moved` for the next call, and no longer.
fn others<H: HostFs>(
    server: &Server<H>,
    watch: &Watch<H::Node>,
    seen: Vec<Seen>,
    moved: &mut Option<Half>,
) -> Vec<Happening> {
    let mut happenings = Vec::new();
    let before = moved.as_ref().map(|(pair, ..)| *pair);
    for Seen { watch: number, name, sight, is_folder } in seen {
        let Some(folder) = watch.numbers().folders.get(&number).copied() else { continue };
        let at = At { folder, name };
        let kind = if is_folder { Kind::Folder } else { Kind::File };
        if watch.own.is_entry(&at, sight) {
            continue;
        }
        if !matches!(sight, Sight::Content | Sight::Attributes) {
            watch.doubts.settle(&at);
        }
        match sight {
            Sight::Made => happenings.push(Happening::Made(at, kind)),
            Sight::Removed => happenings.push(Happening::Removed(at, kind)),
            Sight::MovedFrom(pair) => {
                happenings.extend(moved.take().map(|(_, at, kind)| Happening::Removed(at, kind)));
                *moved = Some((pair, at, kind));
            }
            Sight::MovedTo(pair) => match moved.take() {
                Some((first, from, _)) if first == pair => happenings.push(Happening::Renamed(from, at)),
                other => {
                    happenings.extend(other.map(|(_, at, kind)| Happening::Removed(at, kind)));
                    happenings.push(Happening::Made(at, kind));
                }
            },
            // A container that writes in many small pieces is reported for each, and the host need not be asked what is there: had
            // somebody put something else in its place, that has its own report.
            Sight::Content | Sight::Attributes if server.is_own(watch, &at, sight) => {}
            Sight::Content | Sight::Attributes => {
                // What is there no more has its own report.
                let theirs =
                    server.there(&at).is_some_and(|node| !node.is_some_and(|node| watch.own.is_node(node, sight)));
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
    if before.is_some() && before == moved.as_ref().map(|(pair, ..)| *pair) {
        happenings.extend(moved.take().map(|(_, at, kind)| Happening::Removed(at, kind)));
    }
    happenings
}

impl<H: HostFs> Server<H> {
    /// Holds a folder that is to be watched.
    fn held(&self, folder: u64) -> Result<Arc<H::Node>, Errno> {
        self.hold(folder)
    }

    /// Whether the guest itself has just done this to what it knows by that name.
    fn is_own(&self, watch: &Watch<H::Node>, at: &At, sight: Sight) -> bool {
        let known = self.nodes().child(at.folder, &at.name);
        known.is_some_and(|(node, _)| watch.own.is_node(node, sight))
    }

    /// What is there now; and the guest's node for it, if it knows one.
    fn there(&self, at: &At) -> Option<Option<u64>> {
        let identity = self.attributes_at(at).ok()?.identity;
        let nodes = self.nodes();
        let share = nodes.share(at.folder).ok()?;
        Some(nodes.known_as(identity, &share))
    }

    fn attributes_at(&self, at: &At) -> Result<Attributes, Errno> {
        self.see(&self.place(at.folder)?.held, Name::new(&at.name)?)
    }
}
