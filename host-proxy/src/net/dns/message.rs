//! DNS messages (RFC 1035 §4) as far as a forwarder reads them: the header, the one question, and short answers of our own.
//! Everything else passes as bytes. Pure functions; both sides' bytes are hostile.

use std::net::IpAddr;

/// Bytes of the header.
pub(super) const HEADER: usize = 12;
/// Longest name in a message, in bytes (RFC 1035 §3.1).
const LONGEST_NAME: usize = 255;
/// How long an answer of ours may be kept, in seconds: files change.
const TTL: u32 = 10;
/// The internet.
pub(super) const CLASS_IN: u16 = 1;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

/// An IPv4 address.
pub const TYPE_A: u16 = 1;
/// An IPv6 address.
pub const TYPE_AAAA: u16 = 28;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// There is one, perhaps empty.
    None = 0,
    /// The query makes no sense.
    Format = 1,
    /// No server answered.
    Server = 2,
    /// Another kind of request.
    NotImplemented = 4,
}

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// The whole message.
    bytes: &'a [u8],
    /// Where the question ends.
    end: usize,
    /// The name in lower case, with dots between its labels and none at the end.
    pub name: String,
    /// What is asked for.
    pub kind: u16,
    /// Of which class.
    class: u16,
}

/// Whether an answer says that there is no such name, or that the server cannot say: not that the name has no such record, and
/// not that all of it was too long.
pub fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|flags| flags & 0xf != 0) && !is_truncated(answer)
}

/// The message's identifier.
pub fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*message.first_chunk::<2>()?))
}

/// A copy with another identifier.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut copy = message.to_vec();
    if let Some(place) = copy.first_chunk_mut::<2>() {
        *place = id.to_be_bytes();
    }
    copy
}

/// Whether the answer was cut to fit its datagram.
pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

impl<'a> Query<'a> {
    /// Reads a query; else the code that answers it, or `None` for what deserves no answer.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Option<Code>> {
        let header = bytes.first_chunk::<HEADER>().ok_or(None)?;
        // Answering an answer would make a loop.
        if header[2] & RESPONSE != 0 {
            return Err(None);
        }
        if header[2] & OPCODE != 0 {
            return Err(Some(Code::NotImplemented));
        }
        if header[4..6] != [0, 1] {
            return Err(Some(Code::Format));
        }
        let (name, end) = name(bytes, HEADER).ok_or(Some(Code::Format))?;
        let rest = bytes.get(end..end + 4).ok_or(Some(Code::Format))?;
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        Ok(Self { bytes, end: end + 4, name, kind, class: u16::from_be_bytes([rest[2], rest[3]]) })
    }

    /// Whether an address of the internet is asked for.
    pub fn is_for_address(&self) -> bool {
        self.class == CLASS_IN && [TYPE_A, TYPE_AAAA].contains(&self.kind)
    }

    /// Whether it is of the internet's class at all.
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN
    }

    /// Whether `message` answers this query, asked under `id`.
    pub fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let Some(header) = message.first_chunk::<HEADER>() else { return false };
        if header[..2] != id.to_be_bytes() || header[2] & RESPONSE == 0 {
            return false;
        }
        // Servers that find the query bad may leave the question out.
        if header[4..6] == [0, 0] {
            return header[3] & 0xf != 0;
        }
        let Some((name, end)) = name(message, HEADER) else { return false };
        name == self.name && message.get(end..end + 4) == self.bytes.get(self.end - 4..self.end)
    }

    /// An answer with those of `addresses` that are asked for; none of them is an answer too.
    pub fn answer(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let wanted = |address: &&IpAddr| self.kind == if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        // As many as fit the least datagram that every resolver takes.
        let room = (512 - self.end.min(512)) / (12 + 16);
        let chosen: Vec<&IpAddr> = addresses.iter().filter(wanted).take(room).collect();
        let mut message = self.reply(Code::None, chosen.len() as u16);
        for address in chosen {
            // A pointer to the question's name, type, class, time to live.
            message.extend_from_slice(&[0xc0, HEADER as u8]);
            message.extend_from_slice(&self.kind.to_be_bytes());
            message.extend_from_slice(&CLASS_IN.to_be_bytes());
            message.extend_from_slice(&TTL.to_be_bytes());
            match address {
                IpAddr::V4(address) => {
                    message.extend_from_slice(&[0, 4]);
                    message.extend_from_slice(&address.octets());
                }
                IpAddr::V6(address) => {
                    message.extend_from_slice(&[0, 16]);
                    message.extend_from_slice(&address.octets());
                }
            }
        }
        message
    }

    /// An answer without any records.
    pub fn fail(&self, code: Code) -> Vec<u8> {
        self.reply(code, 0)
    }

    /// The beginning of an answer that was too long: whoever gets it asks again over TCP.
    pub fn truncated(&self) -> Vec<u8> {
        let mut message = self.reply(Code::None, 0);
        message[2] |= TRUNCATED;
        message
    }

    /// The largest datagram that the asker takes: 512 bytes, or what its OPT record says (RFC 6891 §6.2.3).
    pub fn room(&self) -> usize {
        // The OPT record is an additional one, and nothing stands before it in a query: no answers, no authorities.
        let header = &self.bytes[..HEADER];
        let opt = self.bytes.get(self.end..self.end + 5);
        match opt {
            Some(&[0, 0, 41, high, low]) if header[6..10] == [0; 4] => {
                usize::from(u16::from_be_bytes([high, low])).max(512)
            }
            _ => 512,
        }
    }

    /// The same question about this name in `domain`; `None` if there can be no such name.
    pub fn within(&self, domain: &str) -> Option<Vec<u8>> {
        let mut message = self.bytes[..2].to_vec();
        message.extend_from_slice(&[RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        // All of the question but the root, the type and the class.
        message.extend_from_slice(&self.bytes[HEADER..self.end - 5]);
        for label in domain.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            message.push(length);
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(&self.bytes[self.end - 5..self.end]);
        (message.len() - HEADER - 4 <= LONGEST_NAME).then_some(message)
    }

    fn reply(&self, code: Code, answers: u16) -> Vec<u8> {
        let mut message = header(self.bytes, code, [0, 1], answers);
        message.extend_from_slice(&self.bytes[HEADER..self.end]);
        message
    }
}

/// The answer to a query that could not be read.
pub fn refuse(query: &[u8], code: Code) -> Option<Vec<u8>> {
    (query.len() >= HEADER).then(|| header(query, code, [0, 0], 0))
}

fn header(query: &[u8], code: Code, questions: [u8; 2], answers: u16) -> Vec<u8> {
    let mut message = query[..2].to_vec();
    message.extend_from_slice(&[RESPONSE | query[2] & (OPCODE | RECURSION_DESIRED), RECURSION_AVAILABLE | code as u8]);
    message.extend_from_slice(&questions);
    message.extend_from_slice(&answers.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message
}

/// The name at `at` and where it ends. A question comes first, so there is nothing that a pointer could point back to.
pub(super) fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, start) = (String::new(), at);
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((text, at + 1));
        }
        let label = message.get(at + 1..at + 1 + length)?;
        if length > 63 || at + 1 + length - start >= LONGEST_NAME {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        // Byte by byte, so that no two different names become one.
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += 1 + length;
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A query as a resolver sends it.
    pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
        let mut message = id.to_be_bytes().to_vec();
        message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        message
    }

    #[test]
    fn n8_queries_that_make_no_sense_get_a_code_or_silence() {
        let good = query(7, "a.example", TYPE_A);
        assert_eq!(Query::parse(&good).unwrap().name, "a.example");
        for length in 0..HEADER {
            assert_eq!(Query::parse(&good[..length]), Err(None), "{length}");
        }
        for length in HEADER..good.len() {
            assert_eq!(Query::parse(&good[..length]), Err(Some(Code::Format)), "{length}");
        }
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Query::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(2, 0x80), Err(None));
        assert_eq!(with(2, 0x28), Err(Some(Code::NotImplemented)));
        assert_eq!(with(5, 0), Err(Some(Code::Format)));
        assert_eq!(with(5, 2), Err(Some(Code::Format)));
        // A pointer to itself, and a label that goes beyond the end.
        assert_eq!(with(HEADER, 0xc0), Err(Some(Code::Format)));
        assert_eq!(with(HEADER, 63), Err(Some(Code::Format)));
        let long = query(7, &"abcdefg.".repeat(40), TYPE_A);
        assert_eq!(Query::parse(&long), Err(Some(Code::Format)));
    }

    #[test]
    fn n8_an_answer_belongs_to_its_query_only_by_id_and_question() {
        let bytes = query(7, "a.example", TYPE_A);
        let asked = Query::parse(&bytes).unwrap();
        let answer = asked.answer(&["192.0.2.9".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(answer[answer.len() - 4..], [192, 0, 2, 9]);
        assert_eq!(answer[6..8], [0, 1]);
        assert!(asked.is_answered_by(&answer, 7));
        assert!(!asked.is_answered_by(&answer, 8) && !asked.is_answered_by(&bytes, 7) && !asked.is_answered_by(&[], 7));
        for other in [query(7, "b.example", TYPE_A), query(7, "a.example", TYPE_AAAA)] {
            assert!(!asked.is_answered_by(&Query::parse(&other).unwrap().answer(&[]), 7));
        }
        let upper = query(7, "A.eXample", TYPE_A);
        assert!(asked.is_answered_by(&Query::parse(&upper).unwrap().answer(&[]), 7));
    }

    #[test]
    fn an_answer_too_long_says_so_and_the_askers_room_is_believed_upwards_only() {
        let mut bytes = query(7, "a.example", TYPE_A);
        let asked = Query::parse(&bytes).unwrap();
        assert!(is_truncated(&asked.truncated()) && !is_truncated(&asked.fail(Code::Server)));
        assert_eq!(asked.room(), 512);
        bytes[11] = 1;
        for (size, room) in [(4096u16, 4096), (100, 512), (u16::MAX, 65_535)] {
            let mut with_opt = bytes.clone();
            with_opt.extend_from_slice(&[0, 0, 41]);
            with_opt.extend_from_slice(&size.to_be_bytes());
            with_opt.extend_from_slice(&[0; 6]);
            assert_eq!(Query::parse(&with_opt).unwrap().room(), room);
        }
    }

    #[test]
    fn a_question_within_a_domain_is_another_question_and_no_longer_than_a_name_may_be() {
        let with_opt = [query(7, "build", TYPE_AAAA), vec![0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]].concat();
        let short = Query::parse(&with_opt).unwrap();
        assert_eq!(short.within("corp.example"), Some(query(7, "build.corp.example", TYPE_AAAA)));
        assert_eq!(short.within("corp.example."), short.within("corp.example"));
        let label = "x".repeat(63);
        for domain in ["", ".", "a..b", "x".repeat(64).as_str(), [label.as_str(); 4].join(".").as_str()] {
            assert_eq!(short.within(domain), None, "{domain}");
        }
        let longest = [label.as_str(), &label, &label, &label[..55]].join(".");
        assert!(Query::parse(&short.within(&longest).unwrap()).is_ok());
        assert_eq!(short.within(&format!("{longest}x")), None);
    }

    proptest! {
        #[test]
        fn n8_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), id: u16) {
            if let Ok(query) = Query::parse(&bytes) {
                query.answer(&["192.0.2.1".parse().unwrap(); 100]);
                query.truncated();
                query.room();
                query.is_answered_by(&bytes, id);
            }
            refuse(&bytes, Code::Format);
            let good = tests::query(id, "x.example", TYPE_A);
            Query::parse(&good).unwrap().is_answered_by(&bytes, id);
        }

        #[test]
        fn names_survive(labels in prop::collection::vec("[a-z0-9-]{1,20}", 1..8), kind: u16) {
            let name = labels.join(".");
            let bytes = query(1, &name, kind);
            let parsed = Query::parse(&bytes).unwrap();
            prop_assert_eq!(&parsed.name, &name);
            prop_assert_eq!(parsed.kind, kind);
        }
    }
}
