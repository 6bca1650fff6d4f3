//! One window: a range of guest addresses over reserved addresses of this process, in which pages of files come and go.
//!
//! A file on the host can become shorter at any time, and then there is nothing behind its last page: the guest's access is
//! no exit of a known kind but an error of the hypervisor, at an address that it does not tell. So whoever runs the guest asks
//! [`Window::mend`], which compares all files with what is shown of them, and lets the guest go on:
//!
//! ```text
//!             map                 mend: the file is shorter
//!   nothing ───────► file, whole ──────────────────────────► file up to its last page, zeroes behind
//!      ▲               │   ▲                                    │     │ mend: still short    │
//!      │               │   └──── mend, refresh, tend: ──────────┘     ▼                      │
//!      │               │               long again ◄──────── the same, and they are written   │
//!      │               └── give_up: cannot be read or written ──► lost ◄─────────────────────┘
//!      │                                                          (zeroes, or a copy that nobody else sees)
//!      └──── unmap, clear: from anywhere; map replaces from anywhere
//! ```
//! This process itself never touches a window's memory by an instruction, which would raise SIGBUS: only by system calls.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use vm_memory::VolatileSlice;

use super::table::{MOST, Mapping, PAGE, Piece, Shown, Source, Table, Zeroes};
use crate::bus::BusDevice;

/// How often files that were too short are looked at again: at first, and after a while.
const TENDING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Most pages of one mapping that are given up one by one.
const MOST_LOST: usize = 16;

/// Reserved addresses of this process, in which there is nothing at first. Each operation is on whole pages within it.
pub trait Area: Send + Sync {
    /// Bytes.
    fn bytes(&self) -> u64;
    /// Address of its first byte in this process, for a hypervisor.
    fn address(&self) -> u64;
    /// Shows a part of a file. If that fails there is nothing.
    fn map(&self, piece: Piece, source: &Source) -> io::Result<()>;
    /// Shows a part of a file, but what is written to it goes nowhere else.
    fn map_copy(&self, piece: Piece, source: &Source) -> io::Result<()>;
    /// Shows memory that is zero, as long as it is not written to, if it can be.
    fn zero(&self, piece: Piece, zeroes: Zeroes) -> io::Result<()>;
    /// Shows nothing. Whatever was reserved stays so.
    fn hide(&self, piece: Piece) -> io::Result<()>;
    /// Whether all of it can be read, or written to, as it is. What is written to it is what is there.
    fn is_reachable(&self, piece: Piece, write: bool) -> bool;
    /// Bytes for system calls to read or fill: an instruction of ours that touches them may end the process.
    fn slice(&self, at: u64, len: usize) -> Option<VolatileSlice<'_>>;
    /// Copies bytes out; `false` if they cannot be read.
    fn read(&self, at: u64, data: &mut [u8]) -> bool;
    /// Copies bytes in; `false` if they cannot be written.
    fn write(&self, at: u64, data: &[u8]) -> bool;
}

/// A range of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

impl Region {
    /// Whether all of `len` bytes at `address` lie in it.
    pub fn holds(self, address: u64, len: u64) -> bool {
        address.checked_sub(self.base).and_then(|at| at.checked_add(len)).is_some_and(|end| end <= self.len)
    }
}

/// See the head of this file. It is shared by the machine, in which its addresses are, and the device that fills it; what was
/// reserved goes with the last of them.
pub struct Window {
    base: u64,
    area: Box<dyn Area>,
    state: Mutex<State>,
    /// Some file is shorter than what was mapped of it, as far as known. Changes under the lock.
    short: AtomicBool,
}

#[derive(Default)]
struct State {
    table: Table,
    /// A thread looks after files that were too short.
    tended: bool,
}

impl Window {
    /// A window with nothing in it, which the guest finds at `base`.
    pub fn new(base: u64, area: Box<dyn Area>) -> Arc<Self> {
        Arc::new(Self { base, area, state: Mutex::default(), short: AtomicBool::new(false) })
    }

    /// Where the guest finds it.
    pub fn region(&self) -> Region {
        Region { base: self.base, len: self.area.bytes() }
    }

    /// The piece of `len` bytes at `at`, counted from the window's begin; `None` if there is no such piece.
    pub fn piece(&self, at: u64, len: u64) -> Option<Piece> {
        Piece::within(self.area.bytes(), at, len)
    }

    /// Guest memory at this address, for system calls only: they fail where a file has become shorter, any other access of this
    /// process ends it. `None` if not all of it lies in the window.
    pub fn slice(&self, address: u64, len: usize) -> Option<VolatileSlice<'_>> {
        self.area.slice(address.checked_sub(self.base)?, len)
    }

    /// A file of this node that is mapped already in this way.
    pub fn file(&self, node: u64, writable: bool) -> Option<Arc<std::fs::File>> {
        let state = self.lock();
        let mut all = state.table.iter().map(|(_, mapping)| &mapping.source);
        all.find(|source| source.node == node && source.writable == writable).map(|source| Arc::clone(&source.file))
    }

    /// Shows a part of a file in the place of whatever was there.
    ///
    /// # Errors
    /// `OutOfMemory` if there are too many, `InvalidInput` for a part that no file has; or the system refuses. Then nothing is
    /// shown there.
    pub fn map(&self, piece: Piece, source: Source) -> io::Result<()> {
        let end = source.offset.checked_add(piece.bytes()).filter(|&end| i64::try_from(end).is_ok());
        if end.is_none() || !source.offset.is_multiple_of(PAGE) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut state = self.lock();
        if !state.table.has_room(MOST / 2) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        state.table.cut(piece);
        self.area.map(piece, &source)?;
        state.table.put(piece, source, Shown::File(piece.bytes(), Zeroes::Untouched));
        Ok(())
    }

    /// Shows nothing there any more.
    ///
    /// # Errors
    /// `OutOfMemory` if that would leave too many parts, or the system refuses.
    pub fn unmap(&self, piece: Piece) -> io::Result<()> {
        let mut state = self.lock();
        if !state.table.has_room(MOST) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.area.hide(piece)?;
        state.table.cut(piece);
        Ok(())
    }

    /// Shows nothing at all any more.
    pub fn clear(&self) {
        let mut state = self.lock();
        let Some(whole) = Piece::within(self.area.bytes(), 0, self.area.bytes()) else { return };
        match self.area.hide(whole) {
            Ok(()) => state.table.cut(whole),
            Err(error) => tracing::error!(%error, "A window onto files cannot be cleared"),
        }
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.lock().table.iter().count()
    }

    /// The guest could not reach memory: has every mapping show what its file has by now, and where that changes nothing lets the
    /// guest write behind the ends of files. Says whether it may get on by that.
    pub fn mend(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        // Before any file is asked how long it is: who is about to tell the guest of one that has grown since waits for us then.
        self.short.store(true, Ordering::Release);
        let mended = self.look(&mut state.table) || self.let_write(&mut state.table);
        if self.short.load(Ordering::Acquire) && !state.tended {
            state.tended = tend(Arc::downgrade(self));
        }
        mended
    }

    /// To be called before the guest is told how long files are that this `concerns`: from then on it may use all of them. Nothing
    /// is asked of the system where none of them was too short.
    pub fn refresh(&self, concerns: impl Fn(&Source) -> bool) {
        if self.short.load(Ordering::Acquire) {
            let mut state = self.lock();
            self.look_at(&mut state.table, |mapping| mapping.is_short() && concerns(&mapping.source));
        }
    }

    fn look(&self, table: &mut Table) -> bool {
        self.look_at(table, |_| true)
    }

    fn look_at(&self, table: &mut Table, which: impl Fn(&Mapping) -> bool) -> bool {
        let mut changed = false;
        for (piece, mapping) in table.iter_mut().filter(|(_, mapping)| which(mapping)) {
            let Shown::File(backed, zeroes) = mapping.shown else { continue };
            // A file that does not even tell how long it is stays as it was.
            let Ok(metadata) = mapping.source.file.metadata() else { continue };
            let now = mapping.backed_by(metadata.len());
            let (done, zeroes) = match now.cmp(&backed) {
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Less => {
                    (piece.after(now).map(|beyond| self.area.zero(beyond, Zeroes::Untouched)), Zeroes::Untouched)
                }
                std::cmp::Ordering::Greater => {
                    (piece.first(now).map(|whole| self.area.map(whole, &mapping.source)), zeroes)
                }
            };
            mapping.shown = match done.unwrap_or(Ok(())) {
                Ok(()) => Shown::File(now, zeroes),
                Err(error) => {
                    tracing::error!(%error, "A file that changed its length cannot be shown to the guest");
                    Shown::Lost
                }
            };
            changed = true;
        }
        self.short.store(table.is_short(), Ordering::Release);
        changed
    }

    /// Lets the guest write behind the ends of files that it may write to; says whether there is any that it could not before.
    fn let_write(&self, table: &mut Table) -> bool {
        let mut changed = false;
        for (piece, mapping) in table.iter_mut().filter(|(_, mapping)| mapping.source.writable) {
            let Shown::File(backed, Zeroes::Untouched) = mapping.shown else { continue };
            let Some(beyond) = piece.after(backed) else { continue };
            if self.area.zero(beyond, Zeroes::Written).is_ok() {
                mapping.shown = Shown::File(backed, Zeroes::Written);
                changed = true;
            }
        }
        changed
    }

    /// For when the guest cannot go on although every file is as long as what is shown of it: pages that cannot be read become
    /// zeroes, and those that cannot be written to a copy. Says whether there were any. Reads all that is mapped, from the disk
    /// if need be.
    pub fn give_up(&self) -> bool {
        let mut state = self.lock();
        let mut lost = Vec::new();
        for (whole, mapping) in state.table.iter() {
            let Shown::File(backed, _) = mapping.shown else { continue };
            let Some(piece) = whole.first(backed) else { continue };
            let mut bad = Vec::new();
            self.unreachable(piece, false, &mut bad);
            let readable = bad.is_empty();
            // Writing costs the file its times, so it is tried last, and only where all can be read.
            if readable && mapping.source.writable {
                self.unreachable(piece, true, &mut bad);
            }
            for bad in bad {
                let offset = mapping.source.offset + (bad.at() - whole.at());
                lost.push((bad, Source { offset, ..mapping.source.clone() }, readable));
            }
        }
        let found = !lost.is_empty();
        for (piece, source, readable) in lost {
            let done =
                if readable { self.area.map_copy(piece, &source) } else { self.area.zero(piece, Zeroes::Untouched) };
            let (node, offset, bytes) = (source.node, source.offset, piece.bytes());
            tracing::error!(node, offset, bytes, readable, ?done, "Part of a mapped file is lost to the guest");
            state.table.put(piece, source, Shown::Lost);
        }
        found
    }

    /// Whether the guest sees something else than this node's file in a mapping of it: what it wrote there is in no file.
    pub fn has_lost(&self, node: u64) -> bool {
        self.lock().table.iter().any(|(_, mapping)| mapping.source.node == node && mapping.shown == Shown::Lost)
    }

    /// Finds the pages that cannot be reached, by halves.
    fn unreachable(&self, piece: Piece, write: bool, bad: &mut Vec<Piece>) {
        if bad.len() >= MOST_LOST || self.area.is_reachable(piece, write) {
            return;
        }
        let half = piece.bytes() / 2 / PAGE * PAGE;
        if let (Some(first), Some(second)) = (piece.first(half), piece.after(half)) {
            self.unreachable(first, write, bad);
            // `after(0)` would be the same piece again, but then there is no first one.
            self.unreachable(second, write, bad);
        } else {
            bad.push(piece);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each step leaves the table and the area saying the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a thread that looks after files that are too short, for as long as there are any: nothing else would notice that one
/// is long again, for the guest reads zeroes without asking. `false` if there is no thread to be had: then the next fault tries.
fn tend(window: Weak<Window>) -> bool {
    let look = move || {
        let mut pause = TENDING.0;
        loop {
            std::thread::sleep(pause);
            let Some(window) = window.upgrade() else { return };
            let mut state = window.lock();
            window.look_at(&mut state.table, Mapping::is_short);
            if !window.short.load(Ordering::Acquire) {
                state.tended = false;
                return;
            }
            pause = (pause * 2).min(TENDING.1);
        }
    };
    std::thread::Builder::new().name("lighter-dax".into()).spawn(look).is_ok()
}

/// Accesses that reach the bus: where a hypervisor interprets an instruction, an access to memory that is not there looks like
/// one to a device.
pub struct Interpreted(pub Arc<Window>);

impl BusDevice for Interpreted {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.0.mend();
        if !self.0.area.read(offset, data) {
            data.fill(0);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.0.mend();
        // What is written where there is no file any more is seen by nobody.
        if !self.0.area.write(offset, data) {
            tracing::debug!(offset, "a write to a window went nowhere");
        }
    }
}
