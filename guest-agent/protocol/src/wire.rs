//! Frames on a byte stream. A message is a little-endian `u32` length and that many bytes of JSON. After
//! [`Reply::Stream`](crate::Reply::Stream) a frame is one kind byte, a little-endian `u32` length and the payload. Decoders
//! work on whatever bytes have come so far, allocate no more than the limits below, and never panic.

use serde::{Serialize, de::DeserializeOwned};

/// Longest JSON message in bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Longest payload of a stream frame in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The peer does not speak this protocol.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The length field is beyond the limit.
    #[error("Frame of {length} bytes is longer than the allowed {limit}")]
    TooLong {
        /// What the peer announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not JSON, or not a message that is known here.
    #[error("Message is not understood")]
    Json(#[from] serde_json::Error),
    /// A stream frame of a kind that is not known here, or with a payload of the wrong size.
    #[error("Stream frame of kind {0} is not understood")]
    Kind(u8),
}

/// Encodes one message with its length.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MAX_MESSAGE {
        return Err(WireError::TooLong { length: json.len(), limit: MAX_MESSAGE });
    }
    let mut frame = (json.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&json);
    Ok(frame)
}

/// Decodes the message at the front of `bytes`: `Ok(None)` while it is incomplete, else the message and how many bytes it took.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, WireError> {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_MESSAGE {
        return Err(WireError::TooLong { length, limit: MAX_MESSAGE });
    }
    let Some(json) = rest.get(..length) else { return Ok(None) };
    Ok(Some((serde_json::from_slice(json)?, 4 + length)))
}

/// What travels after [`Reply::Stream`](crate::Reply::Stream).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame {
    /// Host → guest: input; empty means end of input.
    Stdin(Vec<u8>),
    /// Guest → host: output.
    Stdout(Vec<u8>),
    /// Guest → host: error output (never with a terminal).
    Stderr(Vec<u8>),
    /// Host → guest: the terminal now has so many columns and rows.
    Resize(u16, u16),
    /// Guest → host, last: exit code as a shell reports it (128 + signal when killed).
    Exit(i32),
}

/// Encodes one stream frame. Payloads longer than [`MAX_PAYLOAD`] must be split by the caller.
pub fn encode_stream(frame: &StreamFrame) -> Result<Vec<u8>, WireError> {
    let size;
    let exit;
    let (kind, payload): (u8, &[u8]) = match frame {
        StreamFrame::Stdin(data) => (0, data),
        StreamFrame::Stdout(data) => (1, data),
        StreamFrame::Stderr(data) => (2, data),
        StreamFrame::Resize(columns, rows) => {
            let ([a, b], [c, d]) = (columns.to_le_bytes(), rows.to_le_bytes());
            size = [a, b, c, d];
            (3, &size)
        }
        StreamFrame::Exit(code) => {
            exit = code.to_le_bytes();
            (4, &exit)
        }
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(WireError::TooLong { length: payload.len(), limit: MAX_PAYLOAD });
    }
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Decodes the stream frame at the front of `bytes`: `Ok(None)` while it is incomplete, else the frame and its length.
pub fn decode_stream(bytes: &[u8]) -> Result<Option<(StreamFrame, usize)>, WireError> {
    let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > MAX_PAYLOAD {
        return Err(WireError::TooLong { length, limit: MAX_PAYLOAD });
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let frame = match (kind, payload) {
        (0, data) => StreamFrame::Stdin(data.to_vec()),
        (1, data) => StreamFrame::Stdout(data.to_vec()),
        (2, data) => StreamFrame::Stderr(data.to_vec()),
        (3, &[a, b, c, d]) => StreamFrame::Resize(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
        (4, &[a, b, c, d]) => StreamFrame::Exit(i32::from_le_bytes([a, b, c, d])),
        _ => return Err(WireError::Kind(kind)),
    };
    Ok(Some((frame, 5 + length)))
}
