//! A chain's spans as one run of bytes, to be read or written front to back. Used by `service`.

use vm_memory::{Address, GuestAddress};

use super::packet::Payload;
use crate::virtio::queue::{QueueError, Span, Virtqueue};

/// A position in a list of spans.
pub struct Cursor<'a> {
    queue: &'a Virtqueue,
    spans: &'a [Span],
    offset: u32,
    left: u64,
}

impl<'a> Cursor<'a> {
    /// The first byte of `spans`, which belong to a chain of `queue`.
    pub fn new(queue: &'a Virtqueue, spans: &'a [Span]) -> Self {
        Self { queue, spans, offset: 0, left: spans.iter().map(|span| u64::from(span.len)).sum() }
    }

    /// Copies `data` to the next bytes.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), QueueError> {
        while !data.is_empty() {
            let Some((addr, run)) = self.take(data.len()) else { break };
            let (now, later) = data.split_at(run);
            self.queue.write(addr, now)?;
            data = later;
        }
        Ok(())
    }

    /// Copies the next bytes to `out`, as far as there are any.
    pub fn read(&mut self, mut out: &mut [u8]) -> Result<(), QueueError> {
        while !out.is_empty() {
            let Some((addr, run)) = self.take(out.len()) else { break };
            let (now, later) = out.split_at_mut(run);
            self.queue.read(addr, now)?;
            out = later;
        }
        Ok(())
    }

    /// The address of the next bytes, at most `want`, that lie in one span.
    fn take(&mut self, want: usize) -> Option<(GuestAddress, usize)> {
        let (span, rest) = self.spans.split_first()?;
        let addr = span.addr.unchecked_add(u64::from(self.offset));
        let run = want.min((span.len - self.offset) as usize);
        self.offset += run as u32;
        self.left -= run as u64;
        if self.offset == span.len {
            (self.spans, self.offset) = (rest, 0);
        }
        Some((addr, run))
    }
}

impl Payload for Cursor<'_> {
    fn available(&self) -> u64 {
        self.left
    }

    fn copy_to(&mut self, out: &mut [u8]) -> Result<(), QueueError> {
        self.read(out)
    }
}
