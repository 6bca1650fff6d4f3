//! The head of a request: what the proxy must know of it to frame it, checked so strictly that dockerd cannot read it
//! differently. `peer` calls [`parse`] on what a client sent; so does the `http_head` fuzz target. The head itself is
//! passed on as it came.

use super::{
    body::Body,
    chunked::ChunkScanner,
    head::{self, Fields, HeadError, Version},
    mounts::{Kind, route},
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
    /// Paths of the host may stand in the body, so that it is looked at before it goes on.
    pub mounts: Option<Kind>,
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
    Ok(Some(RequestHead { method, target, length, facts: Request::new(method, target, version, &fields) }))
}

impl Request {
    fn new(method: &str, target: &[u8], version: Version, fields: &Fields) -> Request {
        Request {
            body: if fields.chunked {
                Body::Chunked(ChunkScanner::default())
            } else {
                Body::Length(fields.content_length.unwrap_or(0))
            },
            is_head: method == "HEAD",
            is_post: method == "POST",
            upgrade: fields.upgrade,
            mounts: route(method, target),
            // HTTP/1.0 knows no 100, and dockerd sends it none.
            expects_continue: fields.expects_continue && version == Version::Http11,
            persistent: fields.persistent(version),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What real clients send, as seeds for what they do not.
    const SEEDS: [&str; 4] = [
        "GET /v1.45/containers/json?all=1 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
        "POST /exec/e/start HTTP/1.1\r\nContent-Length: 27\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n{}",
        "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n5\r\n",
        "HEAD /_ping HTTP/1.0\r\nA:\r\n\r\n",
    ];

    fn facts(text: &str) -> Request {
        parse(text.as_bytes()).expect("well-formed").expect("complete").facts
    }

    #[test]
    fn facts_that_decide_framing_are_found_in_any_case_and_spacing() {
        let list = facts(SEEDS[0]);
        assert!(!list.persistent && !list.upgrade && list.body.finished());
        let exec = facts(SEEDS[1]);
        assert!(exec.persistent && exec.upgrade && exec.is_post && matches!(exec.body, Body::Length(27)));
        let build = facts(SEEDS[2]);
        assert!(build.expects_continue && matches!(build.body, Body::Chunked(_)));
        let ping = facts(SEEDS[3]);
        assert!(ping.is_head && !ping.persistent);
        assert!(!facts("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expects_continue);
        let odd = facts("PUT * HTTP/1.0\r\ncOnTeNt-LeNgTh:\t 007\t\r\nconnection: x,\tKEEP-ALIVE\r\n\r\n");
        assert!(odd.persistent && matches!(odd.body, Body::Length(7)));
    }

    #[test]
    fn h1_a_head_is_complete_at_its_empty_line_and_not_before() {
        for seed in SEEDS {
            let length = seed.find("\r\n\r\n").expect("a head") + 4;
            for cut in 0..length {
                assert!(matches!(parse(&seed.as_bytes()[..cut]), Ok(None)), "{}", &seed[..cut]);
            }
            for cut in length..=seed.len() {
                let head = parse(&seed.as_bytes()[..cut]).expect("well-formed").expect("complete");
                assert_eq!(head.length, length);
            }
        }
    }

    proptest! {
        /// No input makes it panic, and what it accepts is a head: a proper start, its end, and no control characters.
        #[test]
        fn h1_damaged_heads_are_refused_or_still_proper(
            seed in 0..SEEDS.len(),
            damage in proptest::collection::vec((0usize..120, prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'),
                Just(b' '), Just(0u8), Just(b','), any::<u8>()], any::<bool>()), 0..6),
        ) {
            let mut bytes = SEEDS[seed].as_bytes().to_vec();
            for (at, byte, insert) in damage {
                let at = at % bytes.len();
                if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
            }
            if let Ok(Some(head)) = parse(&bytes) {
                let text = &bytes[..head.length];
                prop_assert!(text.ends_with(b"\r\n\r\n"));
                prop_assert_eq!(text.windows(4).position(|w| w == b"\r\n\r\n"), Some(head.length - 4));
                let returns = text.iter().filter(|b| **b == b'\r').count();
                prop_assert_eq!(returns, text.windows(2).filter(|w| w == b"\r\n").count());
                prop_assert_eq!(returns, text.iter().filter(|b| **b == b'\n').count());
                prop_assert!(!text.contains(&0));
                prop_assert!(text.starts_with(head.method.as_bytes()));
            }
        }
    }
}
