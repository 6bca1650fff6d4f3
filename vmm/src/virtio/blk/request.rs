//! From a descriptor chain to a checked block request (virtio 1.2 §5.2.6). Copies what decides out of guest memory once;
//! touches no disk. Called by the worker.

use vm_memory::GuestAddress;

use super::config::{
    DISCARD_SEGMENTS, MAX_DISCARD_SECTORS, MAX_REQUEST, MAX_ZERO_SECTORS, SECTOR, SERIAL, ZERO_SEGMENTS,
};
use crate::virtio::queue::{Chain, QueueError, Span, Virtqueue};

/// How a request ended (§5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What is to be done. Offsets and lengths are in bytes and lie within the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read { offset: u64, into: Vec<Span> },
    Write { offset: u64, from: Vec<Span> },
    Flush,
    Identify { into: Vec<Span> },
    Discard { ranges: Vec<Range> },
    WriteZeroes { range: Range, unmap: bool },
}

impl Operation {
    /// Whether it fills the request's buffers and leaves the disk as it is.
    pub fn fills_memory(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Identify { .. })
    }

    /// Whether it may need room on the host. A discard may too, but is only advice.
    pub fn takes_room(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes { .. })
    }

    /// Name and place on the disk in bytes, for logs.
    pub fn describe(&self) -> (&'static str, u64) {
        match self {
            Self::Read { offset, .. } => ("read", *offset),
            Self::Write { offset, .. } => ("write", *offset),
            Self::Flush => ("flush", 0),
            Self::Identify { .. } => ("identify", 0),
            Self::Discard { ranges } => ("discard", ranges.first().map_or(0, |range| range.offset)),
            Self::WriteZeroes { range, .. } => ("write zeroes", range.offset),
        }
    }
}

/// A part of the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub offset: u64,
    pub len: u64,
}

/// What bounds a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Size of the disk in bytes, whole sectors.
    pub size: u64,
    pub read_only: bool,
    /// DISCARD was negotiated.
    pub discard: bool,
    /// WRITE_ZEROES was negotiated.
    pub write_zeroes: bool,
}

/// A request that can be answered, even if only with an error.
#[derive(Debug)]
pub(super) struct Request {
    /// What to do, or what to answer at once.
    pub operation: Result<Operation, Status>,
    /// Where the status byte goes.
    pub status_at: GuestAddress,
}

/// `struct virtio_blk_outhdr` and `struct virtio_blk_discard_write_zeroes` have the same length.
const HEADER: u64 = 16;

impl Request {
    /// Checks a chain. Fails only if there is no way to answer: no whole header, or no room for the status.
    pub fn parse(queue: &Virtqueue, chain: &Chain, limits: Limits) -> Result<Self, QueueError> {
        let malformed = |reason| QueueError::Chain { queue: queue.index(), reason };
        let (header, body) =
            split(&chain.readable, HEADER).ok_or_else(|| malformed("no whole block request header"))?;
        let room = chain.writable_len().checked_sub(1).ok_or_else(|| malformed("no room for the status byte"))?;
        let (into, status) = split(&chain.writable, room).expect("the room is part of the whole");
        let header = copy(queue, &header)?;
        let operation = decide(queue, &header, body, into, limits)?;
        Ok(Self { operation, status_at: status[0].addr })
    }
}

fn decide(
    queue: &Virtqueue,
    header: &[u8; HEADER as usize],
    body: Vec<Span>,
    into: Vec<Span>,
    limits: Limits,
) -> Result<Result<Operation, Status>, QueueError> {
    let (kind, sector) = (le32(&header[..4]), le64(&header[8..]));
    // Numbers of §5.2.6: VIRTIO_BLK_T_*.
    Ok(match kind {
        0 => data(sector, &into, limits).map(|offset| Operation::Read { offset, into }),
        1 if limits.read_only => Err(Status::IoError),
        1 => data(sector, &body, limits).map(|offset| Operation::Write { offset, from: body }),
        4 => Ok(Operation::Flush),
        8 if total(&into) == SERIAL as u64 => Ok(Operation::Identify { into }),
        8 => Err(Status::IoError),
        11 if limits.discard => ranges(queue, &body, DISCARD_SEGMENTS)?
            .and_then(|segments| segments.iter().map(|segment| segment.discard(limits)).collect())
            .map(|ranges| Operation::Discard { ranges }),
        13 if limits.write_zeroes => {
            ranges(queue, &body, ZERO_SEGMENTS)?.and_then(|segments| segments[0].write_zeroes(limits))
        }
        _ => Err(Status::Unsupported),
    })
}

/// Where the data of a read or write begins on the disk, if all of it lies there.
fn data(sector: u64, spans: &[Span], limits: Limits) -> Result<u64, Status> {
    let len = total(spans);
    if len > MAX_REQUEST || !len.is_multiple_of(SECTOR) {
        return Err(Status::IoError);
    }
    within(sector, len, limits).map(|range| range.offset)
}

fn within(sector: u64, len: u64, limits: Limits) -> Result<Range, Status> {
    let offset = sector.checked_mul(SECTOR).ok_or(Status::IoError)?;
    let end = offset.checked_add(len).ok_or(Status::IoError)?;
    if end > limits.size { Err(Status::IoError) } else { Ok(Range { offset, len }) }
}

/// One entry of a discard or write-zeroes request.
struct Segment {
    sector: u64,
    sectors: u32,
    flags: u32,
}

impl Segment {
    fn discard(&self, limits: Limits) -> Result<Range, Status> {
        // §5.2.6.2: no flag means anything here.
        if self.flags != 0 {
            return Err(Status::Unsupported);
        }
        self.range(MAX_DISCARD_SECTORS, limits)
    }

    fn write_zeroes(&self, limits: Limits) -> Result<Operation, Status> {
        if self.flags & !1 != 0 {
            return Err(Status::Unsupported);
        }
        let range = self.range(MAX_ZERO_SECTORS, limits)?;
        Ok(Operation::WriteZeroes { range, unmap: self.flags & 1 != 0 })
    }

    fn range(&self, most: u32, limits: Limits) -> Result<Range, Status> {
        if limits.read_only || self.sectors > most {
            return Err(Status::IoError);
        }
        within(self.sector, u64::from(self.sectors) * SECTOR, limits)
    }
}

/// The segments in a request's body: at least one, at most `most`.
fn ranges(queue: &Virtqueue, body: &[Span], most: u32) -> Result<Result<Vec<Segment>, Status>, QueueError> {
    let len = total(body);
    if len == 0 || !len.is_multiple_of(HEADER) || len / HEADER > u64::from(most) {
        return Ok(Err(Status::IoError));
    }
    let mut segments = Vec::new();
    let mut rest = body.to_vec();
    while let Some((one, later)) = split(&rest, HEADER) {
        let raw = copy(queue, &one)?;
        segments.push(Segment { sector: le64(&raw[..8]), sectors: le32(&raw[8..12]), flags: le32(&raw[12..]) });
        rest = later;
    }
    Ok(Ok(segments))
}

fn total(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.len)).sum()
}

/// The first `at` bytes of `spans`, and the others; `None` if there are fewer.
fn split(spans: &[Span], at: u64) -> Option<(Vec<Span>, Vec<Span>)> {
    let (mut first, mut second, mut left) = (Vec::new(), Vec::new(), at);
    for span in spans {
        let here = u64::from(span.len).min(left) as u32;
        left -= u64::from(here);
        if here > 0 {
            first.push(Span { addr: span.addr, len: here });
        }
        if here < span.len {
            // A span lies in RAM, so its inner addresses do not overflow.
            second.push(Span { addr: GuestAddress(span.addr.0 + u64::from(here)), len: span.len - here });
        }
    }
    (left == 0).then_some((first, second))
}

/// Copies spans of [`HEADER`] bytes in all.
fn copy(queue: &Virtqueue, spans: &[Span]) -> Result<[u8; HEADER as usize], QueueError> {
    let mut bytes = [0; HEADER as usize];
    let mut filled = 0;
    for span in spans {
        let end = filled + span.len as usize;
        queue.read(span.addr, &mut bytes[filled..end])?;
        filled = end;
    }
    Ok(bytes)
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn le64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
