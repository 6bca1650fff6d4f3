//! Which part of a window shows which part of which file. Pure: what the host's address space must become of it is done by
//! `window`, in the same order.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

/// Everything is in whole pages of this many bytes.
pub const PAGE: u64 = 4096;
/// Most mappings that a guest can make. Linux asks for ranges of 2 MiB, of which a window has fewer. A mapping is two of the
/// process' memory areas at most, with a gap on each side: far from the 65 530 that Linux allows.
pub const MOST: usize = 2048;

/// Whole pages of a window: begin and length in bytes. There are none but within it, and none that are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    at: u64,
    len: u64,
}

impl Piece {
    /// The piece of `len` bytes at `at` in a window of `whole` bytes; `None` if there is no such piece.
    pub fn within(whole: u64, at: u64, len: u64) -> Option<Self> {
        let end = at.checked_add(len)?;
        let pages = at.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        (pages && len > 0 && end <= whole).then_some(Self { at, len })
    }

    /// The first so many bytes left out; `None` if nothing is left.
    pub fn after(self, skip: u64) -> Option<Self> {
        (skip < self.len).then(|| Self { at: self.at + skip, len: self.len - skip })
    }

    /// The first so many bytes, which must be whole pages; `None` for none.
    pub fn first(self, len: u64) -> Option<Self> {
        (len > 0).then(|| Self { at: self.at, len: self.len.min(len) })
    }

    /// First byte, counted from the window's begin.
    pub fn at(self) -> u64 {
        self.at
    }

    /// Bytes.
    pub fn bytes(self) -> u64 {
        self.len
    }

    fn end(self) -> u64 {
        self.at + self.len
    }
}

/// A part of a file to be shown.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, open for reading, and for writing if `writable`.
    pub file: Arc<File>,
    /// By which the guest knows it.
    pub node: u64,
    /// The number that the guest sees of the file, under each of its names.
    pub inode: u64,
    /// The guest may write to it.
    pub writable: bool,
    /// First byte, a whole number of pages.
    pub offset: u64,
}

/// What is to be seen in a mapping's piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// So many bytes of the file (whole pages), and zeroes behind them, if that is not all.
    File(u64, Zeroes),
    /// Not the file, which could not be read or written there; never again until the guest maps it anew.
    Lost,
}

/// What lies behind the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroes {
    /// A write to them is a fault, at which one looks whether the file is long again: it would be lost otherwise.
    Untouched,
    /// The guest writes to them, which changes no file.
    Written,
}

/// One mapping, at its place in the table.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// How long, in bytes.
    pub len: u64,
    /// Of what.
    pub source: Source,
    /// See [`Shown`].
    pub shown: Shown,
}

impl Mapping {
    /// Cuts off what lies behind the first `len` bytes, and returns that.
    fn split(&mut self, len: u64) -> Self {
        let mut rest = self.clone();
        rest.source.offset += len;
        rest.len -= len;
        if let Shown::File(backed, zeroes) = self.shown {
            self.shown = Shown::File(backed.min(len), zeroes);
            rest.shown = Shown::File(backed.saturating_sub(len), zeroes);
        }
        self.len = len;
        rest
    }

    /// Whether a part of the file is not to be seen because the file is too short.
    pub fn is_short(&self) -> bool {
        matches!(self.shown, Shown::File(backed, _) if backed < self.len)
    }

    /// How much of it a file of `size` bytes can show: its last page is there even if the file ends within it.
    pub fn backed_by(&self, size: u64) -> u64 {
        let end = size.checked_next_multiple_of(PAGE).unwrap_or(size);
        end.saturating_sub(self.source.offset).min(self.len)
    }
}

/// All mappings of a window, by where they begin; no two overlap.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<u64, Mapping>);

impl Table {
    /// Whether one more may come, which may cut another one, without there being more than `most`.
    pub fn has_room(&self, most: usize) -> bool {
        self.0.len() + 2 <= most
    }

    /// Takes a piece out of whatever is mapped in it.
    pub fn cut(&mut self, piece: Piece) {
        self.split_at(piece.at);
        self.split_at(piece.end());
        let gone: Vec<u64> = self.0.range(piece.at..piece.end()).map(|(at, _)| *at).collect();
        gone.iter().for_each(|at| drop(self.0.remove(at)));
    }

    /// Makes a border at `at`, if that lies within a mapping.
    fn split_at(&mut self, at: u64) {
        let Some((&begin, mapping)) = self.0.range_mut(..at).next_back() else { return };
        if begin + mapping.len > at {
            let rest = mapping.split(at - begin);
            self.0.insert(at, rest);
        }
    }

    /// Puts a mapping where nothing is any more.
    pub fn put(&mut self, piece: Piece, source: Source, shown: Shown) {
        self.cut(piece);
        self.0.insert(piece.at, Mapping { len: piece.len, source, shown });
    }

    /// All mappings with their pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Piece, &Mapping)> {
        self.0.iter().map(|(&at, mapping)| (Piece { at, len: mapping.len }, mapping))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Piece, &mut Mapping)> {
        self.0.iter_mut().map(|(&at, mapping)| (Piece { at, len: mapping.len }, mapping))
    }

    /// Whether a part of some file is not to be seen because the file is too short.
    pub fn is_short(&self) -> bool {
        self.0.values().any(Mapping::is_short)
    }
}
