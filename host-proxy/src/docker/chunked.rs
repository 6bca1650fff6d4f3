//! Where a chunked body ends (RFC 9112 §7.1). The bytes themselves are passed on untouched, extensions and trailers
//! included; `body` asks how many of them belong to the message. Pure, so that it can be fuzzed.
//!
//! ```text
//!  Size ──";"──▶ Extension ──┐         ┌─ size > 0 ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size
//!    └──────── CR ───────────┴▶ SizeLf ┤
//!                                      └─ size = 0 ─▶ LineStart ─ CR ─▶ EndLf ─▶ Done
//!                                                       ▲   └▶ Trailer ─▶ TrailerLf ┐
//!                                                       └──────────────────────────┘
//! ```

use thiserror::Error;

/// Most digits of a chunk size, zeros included, as dockerd counts them.
const MAX_DIGITS: u32 = 16;
/// Longest chunk extension, in bytes; nobody in Docker's world sends any.
const MAX_EXTENSION: u32 = 4 << 10;
/// Longest trailer section, in bytes.
const MAX_TRAILERS: u32 = 64 << 10;

/// Why a chunked body is not one.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum ChunkError {
    /// No hexadecimal digit, or something else behind the digits.
    #[error("a chunk size is not a hexadecimal number")]
    Size,
    /// More than 2^63 - 1 bytes.
    #[error("a chunk size is too large")]
    SizeOverflow,
    /// A line end that is not CR LF, or data that runs on behind its chunk.
    #[error("a chunk does not end in CR LF")]
    LineEnd,
    /// A control character, or a folded trailer line.
    #[error("a chunk extension or trailer holds a forbidden character")]
    Control,
    /// Beyond the limits of this file.
    #[error("chunk extensions or trailers are too long")]
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u32, value: u64 },
    Extension { value: u64, length: u32 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Follows one chunked body to its end.
#[derive(Debug, Clone)]
pub struct ChunkScanner {
    state: State,
    trailers: u32,
}

impl Default for ChunkScanner {
    fn default() -> Self {
        ChunkScanner { state: State::Size { digits: 0, value: 0 }, trailers: 0 }
    }
}

impl ChunkScanner {
    /// True behind the empty line that ends the body.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes of the stream and returns how many of them belong to the body: all of them, unless it
    /// ends here.
    ///
    /// # Errors
    /// [`ChunkError`]; the scanner must not be used again.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        self.decode(bytes, |_| ())
    }

    /// Does the same, and gives what the chunks hold to `data`, piece by piece.
    ///
    /// # Errors
    /// [`ChunkError`]; the scanner must not be used again.
    pub fn decode(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, ChunkError> {
        let mut at = 0;
        while at < bytes.len() && !self.finished() {
            if let State::Data { left } = self.state {
                let step = left.min((bytes.len() - at) as u64);
                data(&bytes[at..at + step as usize]);
                at += step as usize;
                self.state = if step == left { State::DataCr } else { State::Data { left: left - step } };
            } else {
                self.state = self.byte(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match (self.state, byte) {
            (State::Size { digits: MAX_DIGITS, .. }, b) if b.is_ascii_hexdigit() => {
                return Err(ChunkError::SizeOverflow);
            }
            (State::Size { digits, value }, b) if b.is_ascii_hexdigit() => {
                State::Size { digits: digits + 1, value: add_digit(value, b)? }
            }
            (State::Size { digits: 0, .. }, _) => return Err(ChunkError::Size),
            (State::Size { value, .. }, b'\r') => State::SizeLf { value },
            (State::Size { value, .. }, b';') => State::Extension { value, length: 0 },
            (State::Size { .. }, _) => return Err(ChunkError::Size),
            (State::Extension { value, .. }, b'\r') => State::SizeLf { value },
            (State::Extension { value, length }, b) => {
                State::Extension { value, length: counted(text(b).map(|()| length)?, MAX_EXTENSION)? }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::LineStart,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, value: 0 },
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart, b' ' | b'\t') => return Err(ChunkError::Control),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::LineStart | State::Trailer, b) => {
                self.trailers = counted(text(b).map(|()| self.trailers)?, MAX_TRAILERS)?;
                State::Trailer
            }
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(ChunkError::LineEnd),
        })
    }
}

fn add_digit(value: u64, digit: u8) -> Result<u64, ChunkError> {
    let digit = u64::from(char::from(digit).to_digit(16).ok_or(ChunkError::Size)?);
    // One bit less than u64 holds: a peer that reads sizes as signed numbers must see the same one.
    if value >> 59 != 0 { Err(ChunkError::SizeOverflow) } else { Ok(value << 4 | digit) }
}

fn text(byte: u8) -> Result<(), ChunkError> {
    match byte {
        b'\n' => Err(ChunkError::LineEnd),
        b'\t' | b' '..=b'~' | 0x80.. => Ok(()),
        _ => Err(ChunkError::Control),
    }
}

fn counted(length: u32, limit: u32) -> Result<u32, ChunkError> {
    if length >= limit { Err(ChunkError::TooLong) } else { Ok(length + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans whole and byte by byte; both must agree.
    fn scan(bytes: &[u8]) -> Result<(usize, bool), ChunkError> {
        let mut whole = ChunkScanner::default();
        let at_once = whole.advance(bytes).map(|n| (n, whole.finished()));
        let mut slow = ChunkScanner::default();
        let step_by_step = bytes.iter().try_fold(0, |sum, b| slow.advance(&[*b]).map(|n| sum + n));
        assert_eq!(at_once, step_by_step.map(|n| (n, slow.finished())));
        at_once
    }

    #[test]
    fn body_ends_where_the_empty_line_is_and_not_later() {
        assert_eq!(scan(b"5\r\nhello\r\n0\r\n\r\nGET /"), Ok((15, true)));
        assert_eq!(scan(b"0\r\n\r\n"), Ok((5, true)));
        assert_eq!(scan(b"3;name=\"v\"\r\n\r\n\0\r\n000\r\nDigest: x\r\n y: z"), Err(ChunkError::Control));
        assert_eq!(scan(b"A\r\n0123456789\r\n0\r\nDigest: x\r\nB: y\r\n\r\n!"), Ok((37, true)));
        assert_eq!(scan(b"5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn what_chunks_hold_comes_out_whole() {
        let mut held = Vec::new();
        let mut scanner = ChunkScanner::default();
        for piece in b"3;a\r\n{\"a\r\na\r\n\":0123456}\r\n0\r\nX: y\r\n\r\n".chunks(2) {
            scanner.decode(piece, |data| held.extend_from_slice(data)).expect("chunks");
        }
        assert!(scanner.finished());
        assert_eq!(held, b"{\"a\":0123456}");
    }

    #[test]
    fn h4_broken_chunks_are_refused() {
        for (bytes, error) in [
            (&b"\r\n"[..], ChunkError::Size),
            (b"-1\r\n", ChunkError::Size),
            (b"+5\r\n", ChunkError::Size),
            (b"0x5\r\n", ChunkError::Size),
            (b"5 \r\n", ChunkError::Size),
            (b" 5\r\n", ChunkError::Size),
            (b"5\n", ChunkError::Size),
            (b"5;a\n", ChunkError::LineEnd),
            (b"5;\0\r\n", ChunkError::Control),
            (b"5\rx", ChunkError::LineEnd),
            (b"2\r\nabc\r\n", ChunkError::LineEnd),
            (b"2\r\nab\n0", ChunkError::LineEnd),
            (b"0\r\nA: b\n\r\n", ChunkError::LineEnd),
            (b"8000000000000000\r\n", ChunkError::SizeOverflow),
            (b"10000000000000005\r\n", ChunkError::SizeOverflow),
            (b"00000000000000000\r\n", ChunkError::SizeOverflow),
        ] {
            assert_eq!(scan(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(scan(b"7fffffffffffffff\r\n"), Ok((18, false)));
        assert_eq!(scan(b"0000000000000000\r\n\r\n"), Ok((20, true)));
        let long = [b"1;".as_slice(), &vec![b'x'; MAX_EXTENSION as usize + 1]].concat();
        assert_eq!(scan(&long), Err(ChunkError::TooLong));
        let long = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(MAX_TRAILERS as usize / 4 + 1)].concat();
        assert_eq!(scan(&long), Err(ChunkError::TooLong));
    }
}
