//! A bounded byte queue that grows as it is used. One per direction and connection: guest memory is copied straight into
//! its free slices and straight out of its filled ones. Used by `connection`.

/// First allocation; most API connections never need more.
const FIRST: usize = 4096;

/// First in, first out; never more than `limit` bytes.
#[derive(Debug)]
pub struct ByteRing {
    storage: Vec<u8>,
    start: usize,
    len: usize,
    limit: usize,
    /// Something went in or out since the last [`rest`](ByteRing::rest).
    used: bool,
}

impl ByteRing {
    /// An empty ring that holds at most `limit` bytes. Allocates nothing yet.
    pub fn new(limit: usize) -> Self {
        Self { storage: Vec::new(), start: 0, len: 0, limit, used: false }
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.limit - self.len
    }

    /// Forgets the content and gives the memory back.
    pub fn clear(&mut self) {
        (self.storage, self.start, self.len) = (Vec::new(), 0, 0);
    }

    /// Whether it holds memory, used or not.
    pub fn holds_memory(&self) -> bool {
        !self.storage.is_empty()
    }

    /// Gives the memory back if it is empty and nothing went in or out since the last call; whether there is memory that the
    /// next call may give back.
    pub fn rest(&mut self) -> bool {
        let used = std::mem::take(&mut self.used);
        if self.is_empty() && !used {
            self.clear();
        }
        self.is_empty() && self.holds_memory()
    }

    /// Two slices, together `want` bytes (at most [`room`](Self::room)), to be filled and then [`commit`](Self::commit)ted.
    pub fn spare(&mut self, want: usize) -> (&mut [u8], &mut [u8]) {
        let want = want.min(self.room());
        self.reserve(want);
        let size = self.storage.len();
        let end = self.start + self.len;
        if end >= size {
            let end = end - size;
            return (&mut self.storage[end..end + want], &mut []);
        }
        let first = want.min(size - end);
        let (front, back) = self.storage.split_at_mut(end);
        (&mut back[..first], &mut front[..want - first])
    }

    /// Makes `count` bytes of the last [`spare`](Self::spare) part of the queue.
    pub fn commit(&mut self, count: usize) {
        debug_assert!(self.len + count <= self.storage.len());
        self.len += count;
        self.used = true;
    }

    /// Appends as much of `data` as fits; returns how much that was.
    pub fn append(&mut self, data: &[u8]) -> usize {
        let (first, second) = self.spare(data.len());
        let (split, total) = (first.len(), first.len() + second.len());
        first.copy_from_slice(&data[..split]);
        second.copy_from_slice(&data[split..total]);
        self.commit(total);
        total
    }

    /// The oldest bytes, at most `want`, in two slices.
    pub fn peek(&self, want: usize) -> (&[u8], &[u8]) {
        let want = want.min(self.len);
        let first = want.min(self.storage.len() - self.start);
        (&self.storage[self.start..self.start + first], &self.storage[..want - first])
    }

    /// Drops the `count` oldest bytes.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len);
        self.len -= count;
        self.used = true;
        self.start = if self.len == 0 { 0 } else { (self.start + count) % self.storage.len() };
    }

    fn reserve(&mut self, want: usize) {
        let need = self.len + want;
        if need <= self.storage.len() {
            return;
        }
        let mut grown = vec![0; need.next_power_of_two().max(FIRST).min(self.limit)];
        let (first, second) = self.peek(self.len);
        grown[..first.len()].copy_from_slice(first);
        grown[first.len()..self.len].copy_from_slice(second);
        (self.storage, self.start) = (grown, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_goes_back_when_nothing_moved_between_two_rests_and_never_with_bytes_in_it() {
        let mut ring = ByteRing::new(20_000);
        assert!(!ring.rest() && !ring.holds_memory());
        ring.append(&[7; 9000]);
        assert!(!ring.rest() && !ring.rest(), "what holds bytes is not waited for");
        assert_eq!(ring.peek(9001).0, [7; 9000]);
        ring.consume(9000);
        assert!(ring.rest(), "it was in use until now");
        assert!(!ring.rest() && !ring.holds_memory());
        ring.append(b"again");
        assert_eq!(ring.peek(9).0, b"again");
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_the_order_they_went_in(steps in prop::collection::vec((any::<bool>(), 0usize..9000), 1..60)) {
            let (mut ring, mut model, mut next) = (ByteRing::new(20_000), VecDeque::new(), 0u8);
            for (push, count) in steps {
                if push {
                    let data: Vec<u8> = (0..count).map(|step| next.wrapping_add(step as u8)).collect();
                    let took = ring.append(&data);
                    prop_assert_eq!(took, count.min(20_000 - model.len()));
                    next = next.wrapping_add(took as u8);
                    model.extend(&data[..took]);
                } else {
                    let (first, second) = ring.peek(count);
                    let got = [first, second].concat();
                    let want: Vec<u8> = model.drain(..count.min(model.len())).collect();
                    prop_assert_eq!(&got, &want);
                    ring.consume(got.len());
                }
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }
}
