//! The addresses in an answer of a name server. Pure; the bytes are hostile. Called by `mod`.

use std::net::IpAddr;

use super::message::{CLASS_IN, HEADER, TYPE_A, TYPE_AAAA, name};

/// The internet addresses in an answer to one question, whatever name has them: an alias leads to another one. As many as could
/// be read.
pub fn addresses(answer: &[u8]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let Some(header) = answer.first_chunk::<HEADER>() else { return found };
    let Some((_, mut at)) = name(answer, HEADER) else { return found };
    // Type and class of the question.
    at += 4;
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        let Some(end) = skip_name(answer, at) else { break };
        let Some(&[kind_high, kind, class_high, class, _, _, _, _, high, low]) =
            answer.get(end..).and_then(|rest| rest.first_chunk::<10>())
        else {
            break;
        };
        let data = end + 10..end + 10 + usize::from(u16::from_be_bytes([high, low]));
        at = data.end;
        let Some(data) = answer.get(data) else { break };
        if u16::from_be_bytes([class_high, class]) != CLASS_IN {
            continue;
        }
        match u16::from_be_bytes([kind_high, kind]) {
            TYPE_A => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            TYPE_AAAA => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
    }
    found
}

/// Where the name at `at` ends, which may end with a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::tests::query;
    use super::super::message::{Code, Query};
    use super::*;

    #[test]
    fn n8_addresses_are_read_behind_an_alias_and_as_far_as_the_answer_goes() {
        let question = query(7, "build", TYPE_A);
        let mut answer = Query::parse(&question).unwrap().fail(Code::None);
        answer[7] = 4;
        let record = |name: &[u8], kind: u16, class: u16, data: &[u8]| {
            let [kind, class] = [kind, class].map(u16::to_be_bytes);
            [name, &kind, &class, &[0, 0, 0, 60, 0, data.len() as u8], data].concat()
        };
        answer.extend(record(&[0xc0, 12], 5, CLASS_IN, b"\x01b\x07example\0"));
        answer.extend(record(b"\x01b\x07example\0", TYPE_A, CLASS_IN, &[192, 0, 2, 9]));
        answer.extend(record(&[0xc0, 12], TYPE_A, 3, &[192, 0, 2, 10]));
        answer.extend(record(&[1, b'b', 0xc0, 40], TYPE_AAAA, CLASS_IN, &[0xfd; 16]));
        let want: Vec<IpAddr> = vec![[192, 0, 2, 9].into(), [0xfd; 16].into()];
        assert_eq!(addresses(&answer), want);
        assert_eq!(addresses(&answer[..answer.len() - 1]), want[..1]);
        assert!(addresses(&answer[..20]).is_empty());
    }

    proptest! {
        #[test]
        fn n8_any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            addresses(&bytes);
            // Behind a head that promises as many records as there can be.
            addresses(&[&[0, 0, 0x80, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 1], &bytes[..]].concat());
        }
    }
}
