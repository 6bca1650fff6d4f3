//! A muxer on a bench: packets in, packets out, host calls, no ring and no task. Used by the tests beside it.

use std::task::Waker;
use std::time::Instant;

use lighter_protocol::ports::{GUEST_CID, HOST_CID};

use crate::virtio::vsock::connection::End;
use crate::virtio::vsock::credit::WINDOW;
use crate::virtio::vsock::endpoint::Ended;
use crate::virtio::vsock::muxer::{Id, Muxer};
use crate::virtio::vsock::packet::{HEADER_LEN, Header, Op, TYPE_STREAM};

/// What a host call came to, in words that compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    Bytes(Vec<u8>),
    Wait,
    Eof,
    Reset,
}

pub struct Bench {
    pub muxer: Muxer,
    pub now: Instant,
    pub buf_alloc: u32,
}

impl Bench {
    pub fn new() -> Self {
        Self { muxer: Muxer::new(GUEST_CID), now: Instant::now(), buf_alloc: WINDOW }
    }

    /// A header from guest port `guest` to host port `host`, with plenty of credit.
    pub fn header(&self, host: u32, guest: u32, op: u16) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: guest,
            dst_port: host,
            kind: TYPE_STREAM,
            op,
            buf_alloc: self.buf_alloc,
            ..Header::default()
        }
    }

    pub fn inject(&mut self, header: Header, payload: &[u8]) {
        self.muxer.receive(&header, payload).expect("a slice can always be read");
    }

    pub fn send(&mut self, (host, guest): (u32, u32), op: Op) {
        self.inject(self.header(host, guest, op as u16), &[]);
    }

    pub fn send_data(&mut self, (host, guest): (u32, u32), data: &[u8]) {
        let header = Header { len: data.len() as u32, ..self.header(host, guest, Op::Rw as u16) };
        self.inject(header, data);
    }

    pub fn send_shutdown(&mut self, (host, guest): (u32, u32), flags: u32) {
        self.inject(Header { flags, ..self.header(host, guest, Op::Shutdown as u16) }, &[]);
    }

    /// The next packet for a buffer of `size` bytes.
    pub fn next_into(&mut self, size: usize) -> Option<(Header, Vec<u8>)> {
        let mut packet = None;
        let written = self
            .muxer
            .next(size, |header, first, second| {
                packet = Some((*header, [first, second].concat()));
                Ok(())
            })
            .expect("nothing here fails");
        if let Some((header, payload)) = &packet {
            assert_eq!(header.len as usize, payload.len());
            assert_eq!(written, Some(HEADER_LEN + payload.len()));
            assert!(HEADER_LEN + payload.len() <= size, "a packet must fit its buffer");
        }
        packet
    }

    /// Everything that is due, into buffers like Linux' own.
    pub fn drain(&mut self) -> Vec<(Header, Vec<u8>)> {
        std::iter::from_fn(|| self.next_into(4096)).collect()
    }

    /// The operations that are due.
    pub fn ops(&mut self) -> Vec<Op> {
        self.drain().iter().map(|(header, _)| op(header)).collect()
    }

    /// An open connection that the host dialled, and its ports (host, guest).
    pub fn open(&mut self, guest: u32) -> (Id, (u32, u32)) {
        let id = self.muxer.connect(guest).expect("there is room");
        let (request, _) = self.next_into(HEADER_LEN).expect("a request is due");
        assert_eq!((op(&request), request.dst_port), (Op::Request, guest));
        let ports = (request.src_port, guest);
        self.send(ports, Op::Response);
        assert_eq!(self.muxer.poll_connected(id, Waker::noop()), Some(Ok::<(), End>(())));
        (id, ports)
    }

    pub fn read(&mut self, id: Id, want: usize) -> Got {
        let mut bytes = Vec::new();
        match self.muxer.read(id, want, Waker::noop(), |part| bytes.extend_from_slice(part)) {
            None => Got::Wait,
            Some(Ok(())) => Got::Bytes(bytes),
            Some(Err(Ended::Clean)) => Got::Eof,
            Some(Err(Ended::Reset)) => Got::Reset,
        }
    }

    /// Bytes taken, or why none were.
    pub fn write(&mut self, id: Id, data: &[u8]) -> Result<usize, Got> {
        match self.muxer.write(id, data, Waker::noop()) {
            None => Err(Got::Wait),
            Some(Ok(count)) => Ok(count),
            Some(Err(Ended::Clean)) => Err(Got::Eof),
            Some(Err(Ended::Reset)) => Err(Got::Reset),
        }
    }

    pub fn release(&mut self, id: Id) {
        self.muxer.release(id, self.now);
    }
}

pub fn op(header: &Header) -> Op {
    Op::from_raw(header.op).expect("we send known operations only")
}
