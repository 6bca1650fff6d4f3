//! The head of a response, and with it how its body ends (RFC 9112 §6.3). `exchange` calls [`parse`] on what the
//! guest sent, which is as hostile as any input. The head itself is passed on as it came.

use super::{
    body::Body,
    chunked::ChunkScanner,
    head::{self, Fields, HeadError},
    request::Request,
};

/// What follows a response head.
#[derive(Debug)]
pub(super) enum Next {
    /// 1xx: another head.
    Interim {
        /// It was 100: dockerd wants the body.
        continues: bool,
    },
    /// What the final answer brings.
    Final(Answer),
}

/// The rest of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// 101, or Docker's raw 200: from here on both directions are bytes without meaning.
    Raw,
    /// This body, and behind it perhaps another request, if dockerd will read one.
    Body { body: Body, persistent: bool },
}

/// Reads the complete response head `head` to `request`.
///
/// # Errors
/// [`HeadError`] when dockerd could not have sent it.
pub(super) fn parse(head: &[u8], request: &Request) -> Result<Next, HeadError> {
    let (line, lines) = head::start_line(head)?;
    let (version, rest) = line.split_at_checked(8).ok_or(HeadError::StartLine)?;
    let version = head::version(version)?;
    let status = match rest {
        [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => [a, b, c],
        [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => [a, b, c],
        _ => return Err(HeadError::StartLine),
    };
    let status = status.into_iter().fold(0u16, |number, digit| number * 10 + u16::from(digit - b'0'));
    if !line.iter().all(|b| head::is_text(*b) || matches!(b, b' ' | b'\t')) {
        return Err(HeadError::Control);
    }
    let fields = Fields::parse(lines, version)?;
    let until_close = fields.content_length.is_none() && !fields.chunked;
    let body = match status {
        101 if request.upgrade => return Ok(Next::Final(Answer::Raw)),
        // Nobody asked, so the client would read on as HTTP.
        101 => return Err(HeadError::StartLine),
        100..200 => return Ok(Next::Interim { continues: status == 100 }),
        // A hijacked stream without an upgrade: clients write stdin behind the request and read output to the end.
        200 if until_close && fields.docker_stream && request.is_post => return Ok(Next::Final(Answer::Raw)),
        204 | 304 => Body::EMPTY,
        _ if request.is_head => Body::EMPTY,
        _ if fields.chunked => Body::Chunked(ChunkScanner::default()),
        _ => fields.content_length.map_or(Body::UntilClose, Body::Length),
    };
    let persistent = fields.persistent(version) && !matches!(body, Body::UntilClose);
    Ok(Next::Final(Answer::Body { body, persistent }))
}
