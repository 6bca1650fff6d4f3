//! The thread of a block device: waits for the doorbell, takes requests in order, does them one by one on the disk. In
//! order and one by one means that a FLUSH is answered only after everything answered before it is durable.
//!
//! A write for which the host has no room is not failed, because the guest would lose what it believes written and make its
//! file system read-only: it is tried again until there is room or the device is reset, and meanwhile [`Trouble`] says so.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vm_memory::{GuestMemory as _, VolatileSlice};

use super::config::SERIAL;
use super::disk::Disk;
use super::request::{Limits, Operation, Request, Status};
use super::trouble::Trouble;
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimit;
use crate::virtio::device::Interrupt;
use crate::virtio::panicking::Panicking;
use crate::virtio::queue::{Chain, QueueError, Span, Virtqueue};

/// How often a write that the host has no room for is tried.
const RETRY: Duration = Duration::from_millis(500);

/// The disk with what outlives a reset of the device.
pub(super) struct Backend {
    pub disk: Box<dyn Disk>,
    /// For messages.
    pub path: PathBuf,
    /// Nothing was written, so there is nothing to flush; Windows refuses to flush a file that is open for reading only.
    pub read_only: bool,
    /// Answer to GET_ID, padded with zeroes.
    pub serial: [u8; SERIAL],
    /// A flush failed. The host may have dropped what it could not write, and would report the next flush as a success;
    /// so from here on only reads are served, until the image is opened anew.
    pub failed: bool,
    /// Where a person learns what is wrong with the disk.
    pub trouble: Trouble,
    pub warnings: RateLimit,
    /// A guest can break its queue and reset the device as often as it likes.
    pub broken: RateLimit,
}

/// One activation of the device.
pub(super) struct Worker {
    pub queue: Virtqueue,
    pub interrupt: Arc<dyn Interrupt>,
    pub limits: Limits,
    /// FLUSH was not negotiated: every write must be durable when it is answered (§5.2.6.2).
    pub write_through: bool,
    /// Set, and the queue's kick signalled, when the device is reset.
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    /// Serves until told to stop, or until the driver breaks the rules.
    pub fn run(mut self, backend: &mut Backend) {
        let interrupt = Arc::clone(&self.interrupt);
        let _told = Panicking::tells("blk", &*interrupt);
        while !self.stopping() {
            if let Err(error) = self.drain(backend) {
                if let Some(suppressed) = backend.broken.allow() {
                    let disk = backend.path.display();
                    tracing::warn!(%disk, %error, suppressed, "Disk stopped: the driver broke the rules");
                }
                return self.interrupt.needs_reset();
            }
            // Waiting for room may have consumed the signal that came with the wish to stop.
            if !self.stopping() {
                self.queue.kick().wait();
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Serves all there is. Whether each answer interrupts is for the driver's event index to say.
    fn drain(&mut self, backend: &mut Backend) -> Result<(), QueueError> {
        loop {
            self.queue.disable_doorbell()?;
            while !self.stopping() {
                let Some(chain) = self.queue.pop_from_anywhere()? else { break };
                let Some(written) = self.serve(&chain, backend)? else { return Ok(()) };
                self.queue.push(chain.head, written)?;
                self.queue.publish()?;
            }
            if self.stopping() || !self.queue.enable_doorbell()? {
                return Ok(());
            }
        }
    }

    /// Does one request and writes its status; returns how many bytes of the chain's writable part count as written, or
    /// `None` if the device was reset before the host had room for it.
    fn serve(&self, chain: &Chain, backend: &mut Backend) -> Result<Option<u32>, QueueError> {
        let request = Request::parse(&self.queue, chain, self.limits)?;
        let (status, fills) = match &request.operation {
            Err(status) => (*status, false),
            Ok(operation) => {
                let Some(status) = self.perform(operation, backend) else { return Ok(None) };
                (status, operation.fills_memory())
            }
        };
        self.queue.write(request.status_at, &[status as u8])?;
        // A chain holds less than 4 GiB.
        Ok(Some(if status == Status::Ok && fills { chain.writable_len() as u32 } else { 1 }))
    }

    /// Does an operation, waiting for room on the host as long as it takes. `None` if told to stop meanwhile.
    fn perform(&self, operation: &Operation, backend: &mut Backend) -> Option<Status> {
        loop {
            let done = backend.perform(operation, self.queue.memory(), self.write_through);
            if done.is_some() {
                return done;
            }
            let until = Instant::now() + RETRY;
            while Instant::now() < until && !self.stopping() {
                // Doorbells count for nothing here: what they tell of is looked for after this request anyway.
                self.queue.kick().wait_for(until.saturating_duration_since(Instant::now()));
            }
            if self.stopping() {
                return None;
            }
        }
    }
}

impl Backend {
    /// `None` if the host has no room for it now.
    fn perform(&mut self, operation: &Operation, memory: &GuestMemory, write_through: bool) -> Option<Status> {
        let reads = operation.fills_memory();
        if self.failed && !reads {
            return Some(Status::IoError);
        }
        let attempt = self.attempt(operation, memory);
        if operation.takes_room() {
            match &attempt {
                Err(error) if is_full(error) => {
                    self.trouble.no_space(&self.path);
                    return None;
                }
                Ok(()) => self.trouble.space(&self.path),
                Err(_) => {}
            }
        }
        let outcome = attempt.and_then(|()| match operation {
            Operation::Flush => self.flush(),
            _ if write_through && !reads => self.flush(),
            _ => Ok(()),
        });
        Some(match outcome {
            Ok(()) => Status::Ok,
            Err(error) => {
                self.warn(operation, &error);
                Status::IoError
            }
        })
    }

    fn attempt(&mut self, operation: &Operation, memory: &GuestMemory) -> io::Result<()> {
        match operation {
            Operation::Read { offset, into } => self.disk.read(*offset, &slices(memory, into)?),
            Operation::Write { offset, from } => self.disk.write(*offset, &slices(memory, from)?),
            Operation::Identify { into } => {
                let mut rest = &self.serial[..];
                for slice in slices(memory, into)? {
                    let (now, later) = rest.split_at(rest.len().min(slice.len()));
                    slice.copy_from(now);
                    rest = later;
                }
                Ok(())
            }
            Operation::Discard { ranges } => ranges
                .iter()
                .filter(|range| range.len > 0)
                .try_for_each(|range| self.disk.discard(range.offset, range.len)),
            Operation::WriteZeroes { range, .. } if range.len == 0 => Ok(()),
            Operation::WriteZeroes { range, unmap } => self.disk.write_zeroes(range.offset, range.len, *unmap),
            Operation::Flush => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.disk.flush().inspect_err(|error| {
            self.failed = true;
            self.trouble.flush_failed(&self.path, error);
        })
    }

    fn warn(&mut self, operation: &Operation, error: &io::Error) {
        // Of a failed flush `flush` has said all, whatever else was logged lately.
        let Some(suppressed) = (!self.failed).then(|| self.warnings.allow()).flatten() else { return };
        let disk = self.path.display();
        let (operation, offset) = operation.describe();
        tracing::warn!(%disk, %error, operation, offset, suppressed, "Access to the guest's disk failed");
    }
}

/// Whether the host's file system, or the user's share of it, has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Spans of guest memory as what the disk reads from or writes to.
fn slices<'a>(memory: &'a GuestMemory, spans: &[Span]) -> io::Result<Vec<VolatileSlice<'a>>> {
    let slices = spans.iter().flat_map(|span| memory.get_slices(span.addr, span.len as usize));
    slices.collect::<Result<_, _>>().map_err(io::Error::other)
}
