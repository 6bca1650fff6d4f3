//! The thread of one queue: takes a request, has the server do it, puts the answer where the guest wants it. Content goes between
//! guest memory and the host's files without a copy; all else is copied once, before it is looked at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::{GuestMemory as _, VolatileSlice};

use super::errno::Errno;
use super::fuse::numbers::LONGEST_HEAD;
use super::fuse::reply;
use super::fuse::request::{HEADER, Header, Operation, WRITE_HEAD};
use super::host::HostFs;
use super::server::{Answer, Exchange, Server};
use crate::rate_limit::RateLimit;
use crate::virtio::device::Interrupt;
use crate::virtio::panicking::Panicking;
use crate::virtio::queue::{Chain, QueueError, Span, Virtqueue};

/// Limits what a guest can make us write into the log, over resets too.
pub(super) type Warnings = Mutex<RateLimit>;

/// See the head of this file.
pub(super) struct Worker<H: HostFs> {
    pub queue: Virtqueue,
    pub interrupt: Arc<dyn Interrupt>,
    pub server: Arc<Server<H>>,
    pub warnings: Arc<Warnings>,
    /// Set, and the queue's kick signalled, when the device is reset.
    pub stop: Arc<AtomicBool>,
}

impl<H: HostFs> Worker<H> {
    /// Serves until told to stop, or until the driver breaks the rules.
    pub fn run(mut self) {
        let interrupt = Arc::clone(&self.interrupt);
        let _told = Panicking::tells("fs", &*interrupt);
        while !self.stopping() {
            if let Err(error) = self.drain() {
                let allowed = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).allow();
                if let Some(suppressed) = allowed {
                    tracing::warn!(%error, suppressed, "Shared folders stopped: the driver broke the rules");
                }
                return self.interrupt.needs_reset();
            }
            self.queue.kick().wait();
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn drain(&mut self) -> Result<(), QueueError> {
        loop {
            self.queue.disable_doorbell()?;
            while !self.stopping()
                && let Some(chain) = self.queue.pop()?
            {
                let written = self.serve(&chain)?;
                self.queue.push(chain.head, written)?;
                self.queue.publish()?;
            }
            if self.stopping() || !self.queue.enable_doorbell()? {
                return Ok(());
            }
        }
    }

    /// Does one request; returns how many bytes its answer has, header included.
    fn serve(&self, chain: &Chain) -> Result<u32, QueueError> {
        let memory = self.queue.memory();
        let (asked, room) = (slices(memory, &chain.readable), slices(memory, &chain.writable));
        let there = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        let mut head = vec![0; there.min(WRITE_HEAD)];
        copy_out(&asked, &mut head);
        let Some(header) = head.first_chunk::<HEADER>().map(Header::parse) else {
            // Nothing says whom to answer.
            return Ok(0);
        };
        let wanted = header.wanted(there);
        if wanted > LONGEST_HEAD || header.len as usize != there {
            return Ok(answer(&room, &header, &Answer::Error(Errno::INVAL)));
        }
        if wanted > head.len() {
            head.resize(wanted, 0);
            copy_out(&asked, &mut head);
        }
        // The header that counts is the one that was checked: the guest may have changed it since.
        let (content, into) = (after(&asked, WRITE_HEAD), after(&room, reply::HEADER));
        let exchange = Exchange { content: &content, room: &into };
        let done = match Operation::parse(&header, &head[HEADER..]) {
            Ok(operation) => self.server.serve(&header, &operation, &exchange),
            Err(error) => Answer::Error(error),
        };
        Ok(answer(&room, &header, &done))
    }
}

/// Writes an answer; returns its length. One that finds no room is an error that does, or nothing.
fn answer(room: &[VolatileSlice], header: &Header, answer: &Answer) -> u32 {
    let space: usize = room.iter().map(|part| part.len()).sum();
    let (payload, len, error): (&[u8], usize, i32) = match answer {
        Answer::None => return 0,
        Answer::Payload(payload) => (payload.bytes(), payload.bytes().len(), 0),
        // It is there already.
        Answer::Read(len) => (&[], *len, 0),
        Answer::Error(error) => (&[], 0, error.number()),
    };
    let fits = reply::HEADER + len <= space;
    let (payload, len, error) = if fits { (payload, len, error) } else { (&[][..], 0, Errno::IO.number()) };
    if space < reply::HEADER {
        return 0;
    }
    let head = reply::header(len, error, header.unique);
    let mut bytes = Vec::with_capacity(reply::HEADER + payload.len());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    copy_in(room, &bytes);
    // At most what one request may ask for.
    (reply::HEADER + len) as u32
}

/// Spans of a chain, which the queue has checked, as slices.
fn slices<'a>(memory: &'a crate::memory::GuestMemory, spans: &[Span]) -> Vec<VolatileSlice<'a>> {
    spans.iter().flat_map(|span| memory.get_slices(span.addr, span.len as usize)).filter_map(Result::ok).collect()
}

/// What lies behind the first `skip` bytes.
fn after<'a>(parts: &[VolatileSlice<'a>], mut skip: usize) -> Vec<VolatileSlice<'a>> {
    let mut rest = Vec::with_capacity(parts.len());
    for part in parts {
        let now = skip.min(part.len());
        skip -= now;
        if let Ok(part) = part.offset(now)
            && !part.is_empty()
        {
            rest.push(part);
        }
    }
    rest
}

fn copy_out(parts: &[VolatileSlice], into: &mut [u8]) {
    let mut done = 0;
    for part in parts {
        done += part.copy_to(&mut into[done..]);
    }
}

fn copy_in(parts: &[VolatileSlice], mut bytes: &[u8]) {
    for part in parts {
        let (now, rest) = bytes.split_at(bytes.len().min(part.len()));
        part.copy_from(now);
        bytes = rest;
    }
}
