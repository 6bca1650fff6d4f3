//! What dockerd answers to the questions that ask only whether it is there and which one it is. Remembered from a machine
//! that ran and given again while none does, so that a program that asks nothing else starts no machine.
//! `daemon::memory` calls [`learn`] and keeps what it got; `serve_connection` calls [`stand_in`] before it dials the guest.
//!
//! Answers are kept as the very bytes that came. Given again, they differ from dockerd's own in what dockerd would change
//! too: `Date`, and `Connection: close` where the client wants no second request. `Swarm` may have changed since; the daemon
//! asks anew before each orderly stop. Anything else about a request that dockerd might answer in another way (an API version
//! that it does not speak, a body, HTTP/1.0) is a call as any other.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{
    body::Body,
    exchange::Outcome,
    head,
    peer::Peer,
    request::{self, Request},
    response::{self, Answer, Next},
};
use crate::guest::{BoxedStream, GuestDialer, Stream};

/// Longest answer that is remembered, in bytes; dockerd's have some hundred.
const LONGEST: usize = 64 << 10;

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    ping: String,
    head_ping: String,
    version: String,
}

/// API versions, lowest and highest, as dockerd says that it speaks them.
type Range = [(u32, u32); 2];

/// The questions, in the order of [`Known`]'s fields.
const QUESTIONS: [&str; 3] = ["GET /_ping", "HEAD /_ping", "GET /version"];

/// Asks a dockerd all three.
///
/// # Errors
/// When it does not answer each with a 200 that could be given again.
pub async fn learn(stream: BoxedStream) -> io::Result<Known> {
    let mut guest = Peer::new(stream);
    let mut answers = Vec::new();
    // One behind the other, so that it takes one way there and back.
    let asked = QUESTIONS.map(|question| format!("{question} HTTP/1.1\r\nHost: docker\r\nUser-Agent: lighter\r\n\r\n"));
    guest.outlet.send_all(asked.concat().as_bytes()).await?;
    for question in QUESTIONS {
        loop {
            if let Some((answer, length)) = complete(question, guest.inlet.bytes())? {
                answers.push(answer);
                guest.inlet.consume(length);
                break;
            }
            if guest.inlet.ended() || guest.inlet.bytes().len() > LONGEST {
                return Err(unfit("too long, or cut off"));
            }
            guest.inlet.fill().await?;
        }
    }
    let [ping, head_ping, version] = <[String; 3]>::try_from(answers).map_err(|_| unfit("not three"))?;
    let known = Known { ping, head_ping, version };
    if known.is_proper() { Ok(known) } else { Err(unfit("no API versions in it")) }
}

/// The answer at the front of `bytes` and its length in bytes, if all of it is there.
fn complete(question: &str, bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    let Some(length) = head::end(bytes, &mut 0).map_err(unfit)? else { return Ok(None) };
    let asked = format!("{question} HTTP/1.1\r\nHost: docker\r\n\r\n");
    let request = request::parse(asked.as_bytes()).map_err(unfit)?.ok_or_else(|| unfit("no question"))?.facts;
    let body = match response::parse(&bytes[..length], &request).map_err(unfit)? {
        Next::Final(Answer::Body { body, persistent: true }) if bytes[8..].starts_with(b" 200") => body,
        _ => return Err(unfit("not a lasting 200")),
    };
    let mut body: Body = body;
    let length = length + body.take(&bytes[length..]).map_err(unfit)?;
    if !body.finished() {
        return Ok(None);
    }
    let text = std::str::from_utf8(&bytes[..length]).map_err(unfit)?;
    Ok(Some((text.to_owned(), length)))
}

fn unfit(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("dockerd's answer cannot be remembered: {why}"))
}

impl Known {
    /// Whether each answer is whole, which a file that somebody edited may not be.
    pub fn is_proper(&self) -> bool {
        let whole = |question: &str, answer: &str| {
            answer.len() <= LONGEST
                && matches!(complete(question, answer.as_bytes()), Ok(Some((_, length))) if length == answer.len())
        };
        let answers = [&self.ping, &self.head_ping, &self.version];
        QUESTIONS.iter().zip(answers).all(|(question, answer)| whole(question, answer)) && self.range().is_some()
    }

    /// Whether both say the same but for the time.
    pub fn says_the_same(&self, other: &Known) -> bool {
        let timeless = |known: &Known| {
            [&known.ping, &known.head_ping, &known.version].map(|answer| dressed(answer, UNIX_EPOCH, true))
        };
        timeless(self) == timeless(other)
    }

    fn range(&self) -> Option<Range> {
        let body = self.version.split_once("\r\n\r\n")?.1;
        // In chunks it stands between sizes that are no JSON.
        let json = body.get(body.find('{')?..=body.rfind('}')?)?;
        let version: serde_json::Value = serde_json::from_str(json).ok()?;
        let field = |name: &str| version.get(name).and_then(serde_json::Value::as_str).and_then(api_version);
        Some([field("MinAPIVersion")?, field("ApiVersion")?])
    }

    /// The answer to a request for `target`, if it is known what dockerd would say.
    fn answer(&self, method: &str, target: &[u8]) -> Option<&str> {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let path = std::str::from_utf8(path).ok()?;
        let plain = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, rest)) => {
                let [lowest, highest] = self.range()?;
                (lowest..=highest).contains(&api_version(version)?).then_some(rest)?
            }
            None => path.strip_prefix('/')?,
        };
        match (method, plain) {
            ("GET", "_ping") => Some(&self.ping),
            ("HEAD", "_ping") => Some(&self.head_ping),
            ("GET", "version") => Some(&self.version),
            _ => None,
        }
    }
}

/// `1.45`, and nothing else that dockerd might read in another way than we do.
fn api_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let number = |digits: &str| {
        let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok())?
    };
    Some((number(major)?, number(minor)?))
}

/// Answers the client's next request, whose head are its first `length` bytes, in the guest's place; `None` if it is for the
/// guest.
pub(super) async fn stand_in<S: Stream>(
    client: &mut Peer<S>,
    guest: &dyn GuestDialer,
    request: &Request,
    length: usize,
) -> Option<Outcome> {
    if !request.body.finished() {
        return None;
    }
    let known = guest.remembered()?;
    let bytes = client.inlet.bytes();
    let head = request::parse(bytes).ok()??;
    let line = bytes[..length].split(|byte| *byte == b'\r').next()?;
    if !line.ends_with(b" HTTP/1.1") {
        return None;
    }
    let text = dressed(known.answer(head.method, head.target)?, SystemTime::now(), request.persistent);
    client.inlet.consume(length);
    let sent = client.outlet.send_all(text.as_bytes()).await.is_ok();
    Some(if sent && request.persistent { Outcome::KeepAlive } else { Outcome::Close })
}

/// `answer` as dockerd would give it now.
fn dressed(answer: &str, now: SystemTime, persistent: bool) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut text = String::with_capacity(answer.len() + 32);
    for line in head.split("\r\n") {
        if line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("date:")) {
            text.push_str("Date: ");
            text.push_str(&http_date(now));
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    if !persistent {
        text.push_str("Connection: close\r\n");
    }
    text + "\r\n" + body
}

/// RFC 9110 §5.6.7, as in `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(now: SystemTime) -> String {
    // A clock before 1970 is as wrong as 1970.
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(day % 7) as usize];
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, day);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut month = 0;
    for days in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", left + 1, months[month])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nBuilder-Version: 2\r\n\
        Cache-Control: no-cache, no-store, must-revalidate\r\nContent-Length: 2\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Docker-Experimental: false\r\nOstype: linux\r\nPragma: no-cache\r\nServer: Docker/27.3.1 (linux)\r\n\
        Swarm: inactive\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\nOK";

    fn known() -> Known {
        let body = r#"{"Version":"27.3.1","ApiVersion":"1.47","MinAPIVersion":"1.24","Os":"linux"}"#;
        let version = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let head_ping = PING.replace("Length: 2", "Length: 0");
        Known { ping: PING.to_owned(), head_ping: head_ping.trim_end_matches("OK").to_owned(), version }
    }

    #[test]
    fn what_is_given_again_is_what_came_but_for_the_date_and_the_end_of_the_connection() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let told = PING.replace("Mon, 01 Jan 2024 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(dressed(PING, now, true), told);
        assert_eq!(dressed(PING, now, false), told.replace("\r\n\r\nOK", "\r\nConnection: close\r\n\r\nOK"));
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }

    #[test]
    fn only_questions_whose_answer_is_certain_are_answered() {
        let known = known();
        assert!(known.is_proper());
        for (method, target, answer) in [
            ("GET", "/_ping", Some(&known.ping)),
            ("HEAD", "/_ping?x=/version", Some(&known.head_ping)),
            ("GET", "/v1.24/_ping", Some(&known.ping)),
            ("GET", "/v1.47/version", Some(&known.version)),
            ("GET", "/v1.48/version", None),
            ("GET", "/v1.23/_ping", None),
            ("GET", "/v1.047/_ping", None),
            ("GET", "/v1.47.1/_ping", None),
            ("GET", "/v/_ping", None),
            ("HEAD", "/version", None),
            ("POST", "/_ping", None),
            ("GET", "//_ping", None),
            ("GET", "/_ping/", None),
            ("GET", "/%5fping", None),
            ("GET", "http://docker/_ping", None),
            ("GET", "*", None),
        ] {
            assert_eq!(known.answer(method, target.as_bytes()), answer.map(String::as_str), "{method} {target}");
        }
    }

    #[test]
    fn a_file_that_was_cut_or_edited_is_not_given_to_clients() {
        for damage in [
            |known: &mut Known| known.ping.truncate(100),
            |known: &mut Known| known.ping.push('!'),
            |known: &mut Known| known.ping = known.ping.replace("200 OK", "500 No"),
            |known: &mut Known| known.head_ping = known.head_ping.replace("\r\nSwarm", "\nSwarm"),
            |known: &mut Known| known.version = known.version.replace("MinAPI", "MaxAPI"),
            |known: &mut Known| known.version = known.version.replace("0\r\n\r\n", ""),
            |known: &mut Known| known.ping = known.ping.replace("Pragma: no-cache", "Connection: close"),
            |known: &mut Known| known.ping = format!("{}{}", " ".repeat(LONGEST), known.ping),
        ] {
            let mut known = known();
            damage(&mut known);
            assert!(!known.is_proper(), "{known:?}");
        }
    }

    #[tokio::test]
    async fn three_answers_are_learnt_however_they_are_cut_and_one_bad_one_spoils_all() {
        for (cut, spoilt) in [(1, false), (7, false), (100_000, false), (100, true)] {
            let known = known();
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let mut script = [known.ping.as_str(), &known.head_ping, &known.version].concat();
            if spoilt {
                script = script.replace("Content-Type: application/json", "Connection: close");
            }
            let dockerd = async move {
                let mut peer = Peer::new(theirs);
                for piece in script.as_bytes().chunks(cut) {
                    peer.outlet.send_all(piece).await.unwrap();
                }
                peer
            };
            let (learnt, _peer) = tokio::join!(learn(Box::new(ours)), dockerd);
            assert_eq!(learnt.ok(), (!spoilt).then_some(known));
        }
    }
}
