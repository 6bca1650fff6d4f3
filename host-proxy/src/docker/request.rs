//! The head of a request: what the proxy must know of it to frame it, checked so strictly that dockerd cannot read it
//! differently. `peer` calls [`parse`] on what a client sent; so does the `http_head` fuzz target. The head itself is
//! passed on as it came.

use super::{
    body::Body,
    chunked::ChunkScanner,
    head::{self, Fields, HeadError, Version},
};

/// A complete, well-formed request head.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// Case-sensitive, a token.
    pub method: &'a str,
    /// As it came: origin form, absolute form, `//`, escapes; dockerd decides.
    pub target: &'a [u8],
    /// Bytes up to and with the empty line.
    pub length: usize,
    /// What follows.
    pub facts: Request,
}

/// The part of a request head that matters after it was passed on.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body to come.
    pub body: Body,
    /// HEAD: the answer has no body, whatever its fields say.
    pub is_head: bool,
    /// POST: the only method that dockerd answers with a raw stream.
    pub is_post: bool,
    /// There is an `Upgrade` field, so that a 101 may come.
    pub upgrade: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The client may send another request on this connection.
    pub persistent: bool,
}

/// Reads the request head at the start of `bytes`; `None` if it is not complete yet.
///
/// # Errors
/// [`HeadError`] as soon as it cannot become a head that is passed on.
pub fn parse(bytes: &[u8]) -> Result<Option<RequestHead<'_>>, HeadError> {
    let Some(length) = head::end(bytes, &mut 0)? else { return Ok(None) };
    let (line, lines) = head::start_line(&bytes[..length])?;
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::StartLine);
    };
    let method = std::str::from_utf8(method).ok().filter(|m| head::is_token(m.as_bytes()));
    let method = method.ok_or(HeadError::StartLine)?;
    if target.is_empty() || !target.iter().all(|b| head::is_text(*b)) {
        return Err(HeadError::StartLine);
    }
    let version = head::version(version)?;
    if method == "CONNECT" {
        return Err(HeadError::Connect);
    }
    let fields = Fields::parse(lines, version)?;
    Ok(Some(RequestHead { method, target, length, facts: Request::new(method, version, &fields) }))
}

impl Request {
    fn new(method: &str, version: Version, fields: &Fields) -> Request {
        Request {
            body: if fields.chunked {
                Body::Chunked(ChunkScanner::default())
            } else {
                Body::Length(fields.content_length.unwrap_or(0))
            },
            is_head: method == "HEAD",
            is_post: method == "POST",
            upgrade: fields.upgrade,
            expects_continue: fields.expects_continue,
            persistent: fields.persistent(version),
        }
    }
}
