//! The list of a folder on systems whose places in it are worth nothing outside of one reading: a place is the number of entries
//! before it, counted while reading. What was read and not taken stays for the next call; going back reads from the start again.

use std::collections::VecDeque;

use crate::virtio::fs::Errno;
use crate::virtio::fs::host::{Entry, Kind};

/// An entry that was read.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: Box<[u8]>,
    pub(super) inode: u64,
    pub(super) kind: Option<Kind>,
}

/// Where rows come from.
pub(super) trait Source {
    /// The next rows are the first ones.
    fn restart(&mut self) -> Result<(), Errno>;
    /// Adds some more; none only if there are no more. How many is what bounds the memory that a list takes.
    fn read(&mut self, rows: &mut VecDeque<Row>) -> Result<(), Errno>;
}

/// A list that is being read.
#[derive(Debug, Default)]
pub(super) struct Rows {
    read: VecDeque<Row>,
    /// Entries before the first one of `read`.
    at: u64,
}

impl Rows {
    /// As `HostFs::list` does it.
    pub(super) fn list(
        &mut self,
        source: &mut impl Source,
        from: u64,
        take: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<(), Errno> {
        if from == 0 || from < self.at {
            source.restart()?;
            self.read.clear();
            self.at = 0;
        }
        loop {
            while let Some(row) = self.read.front() {
                let shown = Entry { name: &row.name, inode: row.inode, kind: row.kind, next: self.at + 1 };
                if self.at >= from && !take(shown) {
                    return Ok(());
                }
                self.at += 1;
                self.read.pop_front();
            }
            source.read(&mut self.read)?;
            if self.read.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names `0`, `1`, … three at a time.
    struct Numbers {
        next: u64,
        end: u64,
        restarts: u32,
    }

    impl Source for Numbers {
        fn restart(&mut self) -> Result<(), Errno> {
            self.next = 0;
            self.restarts += 1;
            Ok(())
        }

        fn read(&mut self, rows: &mut VecDeque<Row>) -> Result<(), Errno> {
            let until = self.end.min(self.next + 3);
            for inode in self.next..until {
                rows.push_back(Row { name: inode.to_string().into_bytes().into(), inode, kind: None });
            }
            self.next = until;
            Ok(())
        }
    }

    fn some(rows: &mut Rows, source: &mut Numbers, from: u64, most: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut take = |entry: Entry| {
            let fits = taken.len() < most;
            if fits {
                assert_eq!(entry.next, entry.inode + 1);
                taken.push(entry.inode);
            }
            fits
        };
        rows.list(source, from, &mut take).expect("numbers do not fail");
        taken
    }

    #[test]
    fn f10_a_list_goes_on_where_it_stopped_and_goes_back_where_it_is_asked_to() {
        let (mut rows, mut source) = (Rows::default(), Numbers { next: 0, end: 8, restarts: 0 });
        assert_eq!(some(&mut rows, &mut source, 0, 4), [0, 1, 2, 3]);
        assert_eq!(some(&mut rows, &mut source, 4, 0), [0; 0], "what is not taken comes again");
        assert_eq!(some(&mut rows, &mut source, 4, 9), [4, 5, 6, 7]);
        assert_eq!(source.restarts, 1);
        assert_eq!(some(&mut rows, &mut source, 2, 2), [2, 3], "back");
        assert_eq!(some(&mut rows, &mut source, 6, 2), [6, 7], "forward");
        assert_eq!(some(&mut rows, &mut source, u64::MAX, 2), [0; 0], "beyond the end");
        assert_eq!(some(&mut rows, &mut source, 0, 1), [0]);
    }
}
