//! Just enough HTTP/2 to meet BuildKit behind `/grpc` (we are the client) and `/session` (dockerd is): frames in and out, request
//! headers without compression. Answers' headers stay packed; what counts is which frames come and what data they carry.

use anyhow::{Result, ensure};

use crate::wire::Wire;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// The flag that acknowledges SETTINGS and PING, and ends a stream on DATA and HEADERS.
pub const ACK_OR_END: u8 = 1;
/// The flag that ends a header block.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Puts a frame together.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads a frame.
pub fn read(wire: &mut Wire) -> Result<Frame> {
    let header = wire.exactly(9)?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    ensure!(length <= 1 << 20, "an HTTP/2 frame of {length} bytes");
    let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    Ok(Frame { kind: header[3], flags: header[4], stream, payload: wire.exactly(length)? })
}

/// Reads frames, answering settings and pings, until one of type `kind` comes.
pub fn read_until(wire: &mut Wire, kind: u8) -> Result<Frame> {
    loop {
        let came = read(wire)?;
        let wants_answer = (came.kind == SETTINGS || came.kind == PING) && came.flags & ACK_OR_END == 0;
        if wants_answer {
            let payload = if came.kind == PING { came.payload.as_slice() } else { &[] };
            wire.send(&frame(came.kind, ACK_OR_END, 0, payload))?;
        }
        if came.kind == kind {
            return Ok(came);
        }
    }
}

/// A gRPC request's HEADERS frame.
pub fn call(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal without indexing, with a literal name; every length is below 127.
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}
