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
use crate::dax::Window;
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
    /// Where else in the machine the guest may have its buffers: content that it takes from, or wants in, a mapped file.
    pub window: Option<Arc<Window>>,
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
                && let Some(chain) = self.queue.pop_from_anywhere()?
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
        let (asked, room) = (self.lent(&chain.readable), self.lent(&chain.writable));
        let there = usize::try_from(chain.readable_len()).unwrap_or(usize::MAX);
        let mut head = vec![0; there.min(WRITE_HEAD).min(asked.ram)];
        asked.copy_out(&mut head);
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
            if wanted > asked.ram {
                return Ok(answer(&room, &header, &Answer::Error(Errno::FAULT)));
            }
            asked.copy_out(&mut head);
        }
        // The header that counts is the one that was checked: the guest may have changed it since.
        let (content, into) = (after(&asked.parts, WRITE_HEAD), after(&room.parts, reply::HEADER));
        let exchange = Exchange { content: &content, room: &into };
        let done = match Operation::parse(&header, &head[HEADER..]) {
            Ok(operation) => self.server.serve(&header, &operation, &exchange),
            Err(error) => Answer::Error(error),
        };
        Ok(answer(&room, &header, &done))
    }

    /// Spans of a chain, which the queue has checked, as slices.
    fn lent(&self, spans: &[Span]) -> Lent<'_> {
        let memory = self.queue.memory();
        let (mut parts, mut ram, mut in_ram) = (Vec::with_capacity(spans.len()), 0, true);
        for span in spans {
            let before = parts.len();
            parts.extend(memory.get_slices(span.addr, span.len as usize).filter_map(Result::ok));
            if parts.len() == before {
                in_ram = false;
                parts.extend(self.window.as_ref().and_then(|window| window.slice(span.addr.0, span.len as usize)));
            } else if in_ram {
                ram += span.len as usize;
            }
        }
        Lent { parts, ram }
    }
}

/// What a chain lends in one direction.
struct Lent<'a> {
    parts: Vec<VolatileSlice<'a>>,
    /// So many bytes of it, from the first one on, are RAM. What follows is for system calls alone.
    ram: usize,
}

impl Lent<'_> {
    /// Copies what it begins with, as far as that is RAM.
    fn copy_out(&self, into: &mut [u8]) {
        let most = into.len().min(self.ram);
        let mut done = 0;
        for part in &self.parts {
            // The last one that is needed is cut to what is left, so nothing behind it is looked at.
            if done == most {
                break;
            }
            done += part.copy_to(&mut into[done..most]);
        }
    }
}

/// Writes an answer; returns its length. One that finds no room is an error that does, or nothing.
fn answer(room: &Lent, header: &Header, answer: &Answer) -> u32 {
    let space: usize = room.parts.iter().map(|part| part.len()).sum();
    let (payload, len, error): (&[u8], usize, i32) = match answer {
        Answer::None => return 0,
        Answer::Payload(payload) => (payload.bytes(), payload.bytes().len(), 0),
        // It is there already.
        Answer::Read(len) => (&[], *len, 0),
        Answer::Error(error) => (&[], 0, error.number()),
    };
    let fits = reply::HEADER + len <= space && reply::HEADER + payload.len() <= room.ram;
    let (payload, len, error) = if fits { (payload, len, error) } else { (&[][..], 0, Errno::IO.number()) };
    if room.ram < reply::HEADER {
        return 0;
    }
    let head = reply::header(len, error, header.unique);
    let mut bytes = Vec::with_capacity(reply::HEADER + payload.len());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    copy_in(&room.parts, &bytes);
    // At most what one request may ask for.
    (reply::HEADER + len) as u32
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

fn copy_in(parts: &[VolatileSlice], mut bytes: &[u8]) {
    for part in parts {
        let (now, rest) = bytes.split_at(bytes.len().min(part.len()));
        part.copy_from(now);
        bytes = rest;
    }
}
