//! The grammar that request and response heads share (RFC 9112 §2–§5): where a head ends, and the few fields that
//! decide framing. Stricter than the RFC wherever two readers could disagree, since dockerd reads the same bytes
//! again. `request` and `response` build on it. Pure, borrows, allocates nothing.

use thiserror::Error;

/// Longest head in bytes, which is also what dockerd (Go's net/http) takes.
pub const MAX_HEAD: usize = 1 << 20;

/// Why a head is refused.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum HeadError {
    /// LF without CR, anywhere in the head.
    #[error("a line ends in a bare line feed")]
    BareLineFeed,
    /// NUL, a lone CR, or another control character.
    #[error("a control character stands in the head")]
    Control,
    /// More than [`MAX_HEAD`] bytes.
    #[error("the head is longer than 1 MiB")]
    TooLong,
    /// The first line is not a request or status line.
    #[error("the first line is malformed")]
    StartLine,
    /// Anything but HTTP/1.0 and HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// CONNECT asks for a tunnel, and nobody behind this socket opens one.
    #[error("CONNECT is not served")]
    Connect,
    /// A field without a proper name: missing colon, space before it, or a folded line.
    #[error("a header line is malformed or folded")]
    Field,
    /// Not a plain decimal number, or given twice.
    #[error("Content-Length is not one plain number")]
    ContentLength,
    /// Anything but a single `chunked`, or in HTTP/1.0.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    TwoLengths,
}

/// HTTP's minor version, 1.0 or 1.1.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// What the fields of one head say about framing and the connection.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) struct Fields {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) expects_continue: bool,
    /// Content-Type is one of Docker's attach stream types.
    pub(super) docker_stream: bool,
}

/// Finds the end of the head at the start of `bytes`: the length with its empty line, or `None` if more must come.
/// `seen` remembers what was looked at before, so that a head that trickles in costs linear time.
pub(super) fn end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, HeadError> {
    while let Some(step) = bytes.get(*seen..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        let after = *seen + step + 1;
        *seen = after;
        let line = &bytes[..after];
        if !line.ends_with(b"\r\n") {
            return Err(HeadError::BareLineFeed);
        }
        if after > MAX_HEAD {
            return Err(HeadError::TooLong);
        }
        if after == 2 || line.ends_with(b"\r\n\r\n") {
            return Ok(Some(after));
        }
    }
    *seen = bytes.len();
    if bytes.len() >= MAX_HEAD { Err(HeadError::TooLong) } else { Ok(None) }
}

/// A complete head whose body has this length, and not the one that it had, in whatever way that was said.
pub(super) fn with_length(head: &[u8], length: usize) -> Vec<u8> {
    let said = [&b"content-length:"[..], b"transfer-encoding:"];
    let is_said = |line: &[u8]| {
        said.iter().any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    let lines = head.strip_suffix(b"\r\n").unwrap_or(head).split_inclusive(|byte| *byte == b'\n');
    let mut new: Vec<u8> = lines.filter(|line| !is_said(line)).flatten().copied().collect();
    new.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    new
}

/// Cuts a complete head into its first line and the rest.
pub(super) fn start_line(head: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    let end = head.iter().position(|b| *b == b'\r').ok_or(HeadError::StartLine)?;
    let rest = head[end..].strip_prefix(b"\r\n").ok_or(HeadError::Control)?;
    Ok((&head[..end], rest))
}

pub(super) fn version(bytes: &[u8]) -> Result<Version, HeadError> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', ..] => Err(HeadError::Version),
        _ => Err(HeadError::StartLine),
    }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Visible characters, and the bytes above ASCII that old clients send unescaped.
pub(super) fn is_text(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

impl Fields {
    /// Reads all field lines of a complete head, from behind its first line to its end.
    pub(super) fn parse(mut lines: &[u8], version: Version) -> Result<Fields, HeadError> {
        let mut fields = Fields::default();
        let mut encoded = false;
        while lines != b"\r\n" {
            let (line, rest) = start_line(lines)?;
            lines = rest;
            let colon = line.iter().position(|b| *b == b':').ok_or(HeadError::Field)?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if !is_token(name) {
                return Err(HeadError::Field);
            }
            if !value.iter().all(|b| is_text(*b) || matches!(b, b' ' | b'\t')) {
                return Err(HeadError::Control);
            }
            encoded |= fields.note(name, value.trim_ascii(), encoded)?;
        }
        match (fields.content_length, encoded, version) {
            (Some(_), true, _) => Err(HeadError::TwoLengths),
            (None, true, Version::Http10) => Err(HeadError::TransferEncoding),
            _ => Ok(fields),
        }
    }

    /// Notes one field; true if it was a Transfer-Encoding.
    fn note(&mut self, name: &[u8], value: &[u8], encoded: bool) -> Result<bool, HeadError> {
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.content_length.replace(content_length(value)?).is_some() {
                return Err(HeadError::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if encoded || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            self.chunked = true;
            return Ok(true);
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.close |= lists(value, b"close");
            self.keep_alive |= lists(value, b"keep-alive");
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            // dockerd looks only whether there is one.
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.expects_continue |= lists(value, b"100-continue");
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let prefix = b"application/vnd.docker.";
            self.docker_stream |= value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        }
        Ok(false)
    }

    /// Whether this side is willing to use the connection again (RFC 9112 §9.3).
    pub(super) fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    // dockerd reads a signed number.
    digits.and_then(|v| v.parse().ok()).filter(|length| *length <= i64::MAX as u64).ok_or(HeadError::ContentLength)
}

fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}
