//! The thread of a block device: waits for the doorbell, takes requests in order, does them one by one on the disk. In
//! order and one by one means that a FLUSH is answered only after everything answered before it is durable.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_memory::{GuestMemory as _, VolatileSlice};

use super::config::SERIAL;
use super::disk::Disk;
use super::request::{Limits, Operation, Request, Status};
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimit;
use crate::virtio::device::Interrupt;
use crate::virtio::queue::{Chain, QueueError, Span, Virtqueue};

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
        while !self.stopping() {
            if let Err(error) = self.drain(backend) {
                if let Some(suppressed) = backend.broken.allow() {
                    let disk = backend.path.display();
                    tracing::warn!(%disk, %error, suppressed, "Disk stopped: the driver broke the rules");
                }
                return self.interrupt.needs_reset();
            }
            self.queue.kick().wait();
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
                let Some(chain) = self.queue.pop()? else { break };
                let written = self.serve(&chain, backend)?;
                self.queue.push(chain.head, written)?;
                self.queue.publish()?;
            }
            if self.stopping() || !self.queue.enable_doorbell()? {
                return Ok(());
            }
        }
    }

    /// Does one request and writes its status; returns how many bytes of the chain's writable part count as written.
    fn serve(&self, chain: &Chain, backend: &mut Backend) -> Result<u32, QueueError> {
        let request = Request::parse(&self.queue, chain, self.limits)?;
        let (status, fills) = match &request.operation {
            Err(status) => (*status, false),
            Ok(operation) => {
                (backend.perform(operation, self.queue.memory(), self.write_through), operation.fills_memory())
            }
        };
        self.queue.write(request.status_at, &[status as u8])?;
        // A chain holds less than 4 GiB.
        Ok(if status == Status::Ok && fills { chain.writable_len() as u32 } else { 1 })
    }
}

impl Backend {
    fn perform(&mut self, operation: &Operation, memory: &GuestMemory, write_through: bool) -> Status {
        let reads = operation.fills_memory();
        if self.failed && !reads {
            return Status::IoError;
        }
        let outcome = self.attempt(operation, memory).and_then(|()| match operation {
            Operation::Flush => self.flush(),
            _ if write_through && !reads => self.flush(),
            _ => Ok(()),
        });
        match outcome {
            Ok(()) => Status::Ok,
            Err(error) => {
                self.warn(operation, &error);
                Status::IoError
            }
        }
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
            let disk = self.path.display();
            tracing::error!(%disk, %error, "Flushing the guest's disk failed: no more writes until it is opened anew");
        })
    }

    fn warn(&mut self, operation: &Operation, error: &io::Error) {
        // Of a failed flush `flush` has said all, whatever else was logged lately.
        let Some(suppressed) = (!self.failed).then(|| self.warnings.allow()).flatten() else { return };
        let disk = self.path.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                tracing::warn!(%disk, suppressed, "No space left on the host for the guest's disk: its writes fail; free some");
            }
            _ => {
                let (operation, offset) = operation.describe();
                tracing::warn!(%disk, %error, operation, offset, suppressed, "Access to the guest's disk failed");
            }
        }
    }
}

/// Spans of guest memory as what the disk reads from or writes to.
fn slices<'a>(memory: &'a GuestMemory, spans: &[Span]) -> io::Result<Vec<VolatileSlice<'a>>> {
    let slices = spans.iter().flat_map(|span| memory.get_slices(span.addr, span.len as usize));
    slices.collect::<Result<_, _>>().map_err(io::Error::other)
}
