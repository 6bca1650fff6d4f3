//! What API clients send: request heads and the framing of their bodies. No beginning of a good head is refused, a head ends
//! where its empty line is, and a body never takes more bytes than there are, however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighter::docker::request::parse;

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let Ok(Some(head)) = parse(bytes) else { return };
    assert!(head.length <= bytes.len() && bytes[..head.length].ends_with(b"\r\n\r\n"));
    assert!(!head.method.is_empty() && !head.target.is_empty());
    let shorter = cut % head.length;
    assert!(matches!(parse(&bytes[..shorter]), Ok(None)), "the first {shorter} bytes");

    // The same body in one piece and cut in two takes the same bytes.
    let rest = &bytes[head.length..];
    let mut whole = head.facts.body.clone();
    let in_one = whole.take(rest).ok();
    let (first, second) = rest.split_at(cut.checked_rem(rest.len()).unwrap_or(0));
    let mut parts = head.facts.body.clone();
    let in_two = parts.take(first).ok().and_then(|used| {
        assert!(used <= first.len());
        if used < first.len() { Some(used) } else { parts.take(second).ok().map(|more| used + more) }
    });
    assert!(in_one.is_none_or(|used| used <= rest.len()));
    assert_eq!(in_one, in_two, "cut after {}", first.len());
    assert_eq!(in_one.map(|_| whole.finished()), in_two.map(|_| parts.finished()));
});
