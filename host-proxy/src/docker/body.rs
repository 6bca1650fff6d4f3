//! How long a message body is (RFC 9112 §6), and how far it has come. `exchange` asks it before it passes bytes on.

use thiserror::Error;

use super::chunked::{ChunkError, ChunkScanner};

/// A body in progress.
#[derive(Debug, Clone)]
pub enum Body {
    /// This many bytes are still to come.
    Length(u64),
    /// Ends with its last chunk.
    Chunked(ChunkScanner),
    /// A response that ends when its connection does.
    UntilClose,
}

/// The stream stopped before the body was complete, or is not a body.
#[derive(Debug, Error)]
#[error("the body is malformed")]
pub struct BodyError(#[from] ChunkError);

impl Body {
    /// A message without a body.
    pub const EMPTY: Body = Body::Length(0);

    /// True when nothing more of it can come.
    #[must_use]
    pub fn finished(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(scanner) => scanner.finished(),
            Body::UntilClose => false,
        }
    }

    /// Does what [`take`](Self::take) does, and gives the message's content, without its framing, to `data`.
    ///
    /// # Errors
    /// [`BodyError`] when they break the framing.
    pub fn read(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, BodyError> {
        if let Body::Chunked(scanner) = self {
            return Ok(scanner.decode(bytes, data)?);
        }
        let count = self.take(bytes)?;
        data(&bytes[..count]);
        Ok(count)
    }

    /// How many of the `bytes` that follow in the stream belong to the body.
    ///
    /// # Errors
    /// [`BodyError`] when they break the framing.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Body::Length(left) => {
                let step = (*left).min(bytes.len() as u64);
                *left -= step;
                Ok(step as usize)
            }
            Body::Chunked(scanner) => Ok(scanner.advance(bytes)?),
            Body::UntilClose => Ok(bytes.len()),
        }
    }
}
