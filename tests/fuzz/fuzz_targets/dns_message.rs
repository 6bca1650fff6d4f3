//! Questions of a container, answers of a name server, and the host's files of names: whatever the bytes, what is answered has
//! the question's identifier, is marked as an answer, and fits what the asker takes.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use lighter::net::reading::{Code, Hosts, Query, addresses as addresses_in, id, refuse, resolver, with_id};

fuzz_target!(|input: (&[u8], &[u8], u16, Vec<IpAddr>)| {
    let (question, answer, other, addresses) = input;
    let text = String::from_utf8_lossy(question).into_owned();
    let _ = resolver(&text);
    let name = String::from_utf8_lossy(answer);
    // Each record has ten bytes before its data.
    assert!(addresses_in(answer).len() <= answer.len() / 10);
    let _ = Hosts::new(text).addresses(&name);
    let renamed = with_id(question, other);
    assert_eq!(renamed.len(), question.len());
    assert!(renamed.len() < 2 || id(&renamed) == Some(other));
    let is_answer = |answer: &[u8]| id(answer) == id(question) && answer[2] & 0x80 != 0;
    match Query::parse(question) {
        Ok(query) => {
            let _ = query.is_answered_by(answer, other);
            if let Some(longer) = query.within(&name) {
                assert_eq!(Query::parse(&longer).map(|longer| longer.kind), Ok(query.kind));
            }
            for made in [query.answer(&addresses), query.fail(Code::Server), query.truncated()] {
                assert!(is_answer(&made), "{made:?}");
                assert!(query.is_answered_by(&made, id(question).expect("it was parsed")));
            }
            assert!(query.truncated().len() <= query.room() && query.fail(Code::Server).len() <= query.room());
        }
        Err(code) => {
            if let Some(made) = code.and_then(|code| refuse(question, code)) {
                assert!(is_answer(&made) && made.len() <= question.len(), "{made:?}");
            }
        }
    }
});
