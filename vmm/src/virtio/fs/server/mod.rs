//! The FUSE server: one request in, one answer out, over any [`HostFs`]. The device's threads call [`Server::serve`], several
//! at a time; so does the native rig of the tests, with a kernel's `/dev/fuse` in the place of the device.
//!
//! ```text
//!   request bytes ─► fuse::request ─► serve ─► attributes │ names │ files │ folders ─► HostFs
//!                                       │            └── nodes, handles, shares
//!                    fuse::reply  ◄─────┘
//! ```

mod attributes;
mod files;
mod folders;
pub(super) mod lifetimes;
mod mapping;
mod names;
mod places;
mod served;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use vm_memory::VolatileSlice;

use self::served::Served;
use super::errno::Errno;
use super::events::herald::{self, Herald};
use super::events::watch::{self, Watch};
use super::events::{Armed, Happenings};
use super::fuse::numbers::{MAJOR, OLDEST_MINOR, init};
use super::fuse::reply::{self, Payload};
use super::fuse::request::{Header, Init, Operation};
use super::handles::Handles;
use super::host::HostFs;
use super::name::Name;
use super::nodes::Nodes;
use super::shares::Shares;
use crate::dax::Window;

/// What the guest's kernel is asked to do, of what it can.
const WISHES: u64 = init::ASYNC_READ
    | init::ATOMIC_O_TRUNC
    | init::BIG_WRITES
    | init::AUTO_INVAL_DATA
    | init::DO_READDIRPLUS
    | init::READDIRPLUS_AUTO
    | init::ASYNC_DIO
    | init::PARALLEL_DIROPS
    | init::MAX_PAGES
    | init::CACHE_SYMLINKS
    | init::NO_OPENDIR_SUPPORT
    | init::HANDLE_KILLPRIV_V2
    | init::INIT_EXT
    | init::DIRECT_IO_ALLOW_MMAP;

/// And if there is a window onto files.
const WINDOW_WISHES: u64 = init::MAP_ALIGNMENT | init::HAS_INODE_DAX;

/// How much of the host the guest may use at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Objects held beside those that are open: descriptors that are given up when others are needed.
    pub held: usize,
    /// Open files; and as many folders.
    pub open: usize,
}

/// What one request brings along, beside what was parsed of it.
pub struct Exchange<'a> {
    /// Of a WRITE: its content.
    pub content: &'a [VolatileSlice<'a>],
    /// Where a READ puts what it read: behind the answer's header.
    pub room: &'a [VolatileSlice<'a>],
}

/// What is to be told.
#[derive(Debug)]
pub enum Answer {
    /// Nothing: FORGET and its like are not answered.
    None,
    /// This payload.
    Payload(Payload),
    /// So many bytes, which are in [`Exchange::room`] already.
    Read(usize),
    /// An error.
    Error(Errno),
}

/// See the head of this file.
pub struct Server<H: HostFs> {
    host: H,
    shares: Shares<H::Node>,
    nodes: Mutex<Nodes<H::Node>>,
    files: Handles<H::File>,
    folders: Handles<Mutex<folders::OpenFolder<H>>>,
    /// The kernel lists folders without opening them.
    unopened: AtomicBool,
    streams: Mutex<folders::Streams<H>>,
    devices: Mutex<Vec<u64>>,
    greeted: AtomicBool,
    /// Set once changes on the host are watched for.
    watch: OnceLock<Arc<Watch<H::Node>>>,
    /// The guest's thread whose requests may repeat what is armed; 0 is none.
    pub(super) herald: Herald,
    pub(super) armed: Mutex<Option<Armed>>,
    served: Served,
    window: OnceLock<Arc<Window>>,
}

type Outcome = Result<Answer, Errno>;

impl<H: HostFs> Server<H> {
    /// A server with nothing shared yet.
    pub fn new(host: H, limits: Limits) -> Self {
        Self {
            host,
            shares: Shares::default(),
            nodes: Mutex::new(Nodes::new(limits.held)),
            files: Handles::new(limits.open),
            folders: Handles::new(limits.open),
            unopened: AtomicBool::new(false),
            streams: Mutex::default(),
            devices: Mutex::default(),
            greeted: AtomicBool::new(false),
            watch: OnceLock::new(),
            herald: Herald::default(),
            armed: Mutex::default(),
            served: Served::default(),
            window: OnceLock::new(),
        }
    }

    /// Shares a folder of the host under `name` in the file system's root.
    ///
    /// # Errors
    /// It cannot be opened, or is no folder.
    pub fn share(&self, name: Name, folder: &Path, writable: bool) -> Result<(), Errno> {
        let root = self.host.root(folder)?;
        let identity = self.host.attributes(&root)?.identity;
        self.shares.add(name, root, identity, writable);
        Ok(())
    }

    /// Hides a folder of the host: in no share is it found or listed, or anything put in its place.
    ///
    /// # Errors
    /// It cannot be opened, or is no folder.
    pub fn hide(&self, folder: &Path) -> Result<(), Errno> {
        let identity = self.host.attributes(&self.host.root(folder)?)?.identity;
        self.shares.hide(identity);
        Ok(())
    }

    /// Shares it no more; what the guest has open in it stays open until it closes it.
    pub fn unshare(&self, name: Name) {
        self.shares.remove(name);
    }

    /// Forgets all that a guest had, as a reset of the device does.
    pub fn reset(&self) {
        self.greeted.store(false, Ordering::Release);
        self.window.get().inspect(|window| window.clear());
        self.files.clear();
        self.folders.clear();
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(watch) = self.watch.get() {
            self.nodes().all_folders().into_iter().for_each(|folder| watch.end(folder));
        }
        let mut nodes = self.nodes();
        let fresh = nodes.anew();
        let before = std::mem::replace(&mut *nodes, fresh);
        drop(nodes);
        drop(before);
    }

    /// Nodes known and held, files and folders open.
    pub fn counts(&self) -> [usize; 4] {
        let (known, held) = self.nodes().count();
        [known, held, self.files.len(), self.folders.len()]
    }

    /// Says from now on what others do on the host to folders that the guest knows; `None` if this host does not report it, or
    /// if somebody is told already.
    ///
    /// # Errors
    /// No thread for it.
    pub fn watch(self: &Arc<Self>) -> std::io::Result<Option<Happenings>> {
        if self.watch.get().is_some() {
            return Ok(None);
        }
        let Some((watch, happenings)) = watch::start(self)? else { return Ok(None) };
        let mut nodes = self.nodes();
        nodes.note_folders();
        let all = nodes.all_folders();
        drop(nodes);
        all.into_iter().for_each(|folder| watch.begin(folder));
        Ok(self.watch.set(watch).ok().map(|()| happenings))
    }

    /// How many requests came so far, by opcode; those that never came are left out.
    pub fn served(&self) -> Vec<(u32, u64)> {
        self.served.counts()
    }

    /// Does what is asked.
    pub fn serve(&self, header: &Header, operation: &Operation, exchange: &Exchange) -> Answer {
        self.served.count(header.opcode);
        if !self.greeted.load(Ordering::Acquire) && !matches!(operation, Operation::Init(_)) {
            return if unanswered(operation) { Answer::None } else { Answer::Error(Errno::IO) };
        }
        if self.herald.is(header.pid)
            && let Some(answer) = self.echo(header, operation)
        {
            return answer;
        }
        if herald::acts(operation) && self.herald.may_not_act(header.pid) {
            return Answer::Error(Errno::IO);
        }
        self.dispatch(header, operation, exchange).unwrap_or_else(Answer::Error)
    }

    fn dispatch(&self, header: &Header, operation: &Operation, exchange: &Exchange) -> Outcome {
        let node = header.node;
        match *operation {
            Operation::Init(ref asked) => self.init(asked),
            Operation::Destroy => {
                self.reset();
                Ok(done())
            }
            Operation::Forget { count } => {
                self.nodes().forget(node, count);
                self.watch_folders();
                Ok(Answer::None)
            }
            Operation::BatchForget(forgets) => {
                let mut nodes = self.nodes();
                forgets.iter().for_each(|(node, count)| nodes.forget(node, count));
                drop(nodes);
                self.watch_folders();
                Ok(Answer::None)
            }
            // Nothing here waits for long, so there is nothing to interrupt.
            Operation::Interrupt => Ok(Answer::None),

            Operation::GetAttr { .. } => self.get_attributes(node),
            Operation::SetAttr(ref change) => self.set_attributes(node, change),
            Operation::StatFs => self.space(node),
            Operation::SyncFs => self.sync_all(node),
            Operation::GetXAttr { name, room } => self.extended(node, name, room),
            Operation::ListXAttr { room } => self.list_extended(node, room),
            Operation::SetXAttr { name, value, flags } => self.set_extended(node, name, value, flags),
            Operation::RemoveXAttr { name } => self.remove_extended(node, name),

            Operation::Lookup { name } => self.look_up(node, name),
            Operation::ReadLink => self.read_link(node),
            Operation::SymLink { name, target } => self.make_link(header, name, target),
            Operation::MkNod { name, mode, device } => self.make_node(header, name, mode, device),
            Operation::MkDir { name, mode } => self.make_folder(header, name, mode),
            Operation::Unlink { name } => self.remove(node, name, H::remove),
            Operation::RmDir { name } => self.remove(node, name, H::remove_folder),
            Operation::Rename { name, new_folder, new_name, flags } => {
                self.rename((node, name), (new_folder, new_name), flags)
            }
            Operation::Link { node: linked, name } => self.link(linked, node, name),

            Operation::Open { flags, drop_set_id } => self.open(node, flags, drop_set_id),
            Operation::Create { name, flags, mode, drop_set_id } => self.create(header, name, flags, mode, drop_set_id),
            Operation::TmpFile { flags, mode } => self.create_unnamed(header, flags, mode),
            Operation::Read(ref what) => self.read(what, exchange.room),
            Operation::Write(ref what) => self.write(node, what, exchange.content),
            Operation::Flush { handle } => self.flush(handle).and_then(|done| self.unless_lost(node, done)),
            Operation::Release { handle } => self.files.release(handle).map(|()| done()),
            Operation::FSync { handle, data_only } => {
                self.sync(handle, data_only).and_then(|done| self.unless_lost(node, done))
            }
            Operation::FAllocate { handle, offset, len, mode } => self.allocate(handle, offset, len, mode),
            Operation::LSeek { handle, offset, whence } => self.seek(handle, offset, whence),
            Operation::CopyFileRange { handle, offset, to_handle, to_offset, len, flags } => {
                self.copy((handle, offset), (to_handle, to_offset), len, flags)
            }

            Operation::SetUpMapping(ref asked) => self.set_up_mapping(node, asked),
            Operation::RemoveMapping(pieces) => self.remove_mapping(pieces),

            Operation::OpenDir => self.open_folder(node),
            Operation::ReadDir(ref what) => self.list(node, what, false),
            Operation::ReadDirPlus(ref what) => self.list(node, what, true),
            Operation::ReleaseDir { handle } => self.folders.release(handle).map(|()| done()),
            Operation::FSyncDir { handle } => self.sync_folder(node, handle),
            Operation::Unknown(_) => Err(Errno::NOSYS),
        }
    }

    /// A kernel greets once for each mount: whatever came before is over.
    fn init(&self, asked: &Init) -> Outcome {
        if asked.major < MAJOR || (asked.major == MAJOR && asked.minor < OLDEST_MINOR) {
            return Err(Errno::INVAL);
        }
        self.reset();
        if asked.major == MAJOR {
            self.greeted.store(true, Ordering::Release);
        }
        // To one of a later major number only ours is told; it then greets again with that.
        let flags = asked.flags & if self.window.get().is_some() { WISHES | WINDOW_WISHES } else { WISHES };
        self.unopened.store(flags & init::NO_OPENDIR_SUPPORT != 0, Ordering::Release);
        Ok(Answer::Payload(Payload::init(reply::Init { max_readahead: asked.max_readahead, flags })))
    }
}

impl<H: HostFs> Drop for Server<H> {
    fn drop(&mut self) {
        self.watch.get().inspect(|watch| watch.stop());
    }
}

/// An answer that says nothing but that all went well.
pub(super) fn done() -> Answer {
    Answer::Payload(Payload::default())
}

/// Whether nobody waits for an answer.
fn unanswered(operation: &Operation) -> bool {
    matches!(operation, Operation::Forget { .. } | Operation::BatchForget(_) | Operation::Interrupt)
}

#[cfg(test)]
mod tests;
