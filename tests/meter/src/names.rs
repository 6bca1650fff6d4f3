//! A table of names and types, with answers of every size that matters: what the name server of the rig's world says, and what
//! a client in a container must hear through everything in between, byte for byte. The rig serves it by [`answer`], the
//! program asks by [`run`] and compares with the same.

mod ask;
mod table;

pub use ask::run;
pub use table::{KINDS, NAMES};

use table::{Entry, ZONE, entries};

/// Bytes of a message's header.
const HEADER: usize = 12;
/// What a datagram may hold for an asker who says nothing.
const LEAST: usize = 512;
/// The longest message, which only a stream holds.
pub const LONGEST: usize = 65_535;
/// How long an answer may be kept, in seconds.
const TTL: u32 = 60;
const TYPE_OPT: [u8; 2] = [0, 41];

/// The name in wire form.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// A question as a resolver sends it; `room` is what it takes in a datagram, if it says so.
fn question(id: u16, name: &str, kind: u16, room: Option<u16>) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(room.is_some())]);
    message.extend(wire(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if let Some(room) = room {
        message.push(0);
        message.extend_from_slice(&TYPE_OPT);
        message.extend_from_slice(&room.to_be_bytes());
        message.extend_from_slice(&[0; 6]);
    }
    message
}

/// What the server of the table answers, over a stream or in a datagram; `None` for what is no question about the table.
#[must_use]
pub fn answer(question: &[u8], over_stream: bool) -> Option<Vec<u8>> {
    let end = HEADER + question.get(HEADER..)?.iter().position(|&byte| byte == 0)? + 5;
    let name = question.get(HEADER..end - 4)?.to_ascii_lowercase();
    if !name.ends_with(&wire(ZONE)) {
        return None;
    }
    let kind = u16::from_be_bytes([question[end - 4], *question.get(end - 3)?]);
    // Of a name that is there another type is an empty answer.
    let of_name: Vec<Entry> = entries().into_iter().filter(|entry| wire(&entry.name) == name).collect();
    let found = of_name.iter().find(|entry| entry.kind == kind);
    let records = found.map(|entry| &entry.records[..]).unwrap_or_default();
    let is_missing = of_name.iter().all(|entry| !entry.exists);
    let mut answer = question[..2].to_vec();
    answer.extend_from_slice(&[0x81, if is_missing { 0x83 } else { 0x80 }, 0, 1]);
    answer.extend_from_slice(&(records.len() as u16).to_be_bytes());
    answer.extend_from_slice(&[0; 4]);
    answer.extend_from_slice(question.get(HEADER..end)?);
    for record in records {
        // Of the name in the question, or of one that it leads to.
        answer.extend(record.owner.as_deref().map_or(vec![0xc0, HEADER as u8], wire));
        answer.extend_from_slice(&record.kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1]);
        answer.extend_from_slice(&TTL.to_be_bytes());
        answer.extend_from_slice(&(record.data.len() as u16).to_be_bytes());
        answer.extend_from_slice(&record.data);
    }
    let room = if over_stream { LONGEST } else { room(&question[end..]) };
    if answer.len() > room {
        answer.truncate(end);
        answer[2] |= 2;
        answer[6..8].fill(0);
    }
    Some(answer)
}

/// What the asker takes in a datagram, as its OPT record behind the question says.
fn room(behind: &[u8]) -> usize {
    match behind {
        [0, 0, 41, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])).max(LEAST),
        _ => LEAST,
    }
}

fn is_cut(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 2 != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn length(name: &str, kind: u16, over_stream: bool, room: Option<u16>) -> usize {
        answer(&question(1, &format!("{name}.{ZONE}"), kind, room), over_stream).unwrap().len()
    }

    #[test]
    fn n8_the_table_has_forty_names_many_types_and_every_size() {
        let all = entries();
        let names: BTreeSet<_> = all.iter().map(|entry| entry.name.to_ascii_lowercase()).collect();
        let kinds: BTreeSet<_> = all.iter().map(|entry| entry.kind).collect();
        assert_eq!((names.len(), kinds.len()), (NAMES, KINDS));
        assert!(names.len() >= 40 && kinds.len() >= 10, "{} names, {} types", names.len(), kinds.len());
        let whole = |entry: &Entry| answer(&question(1, &entry.name, entry.kind, None), true).unwrap().len();
        let sizes: Vec<usize> = all.iter().map(whole).collect();
        for (from, to) in [(0, 512), (513, 1232), (1233, 4096), (4097, 16_384), (16_385, 60_000), (60_001, LONGEST)] {
            assert!(
                sizes.iter().any(|size| (from..=to).contains(size)),
                "no answer of {from} to {to} bytes: {sizes:?}"
            );
        }
        assert!(sizes.contains(&LONGEST) && sizes.contains(&LEAST));
    }

    #[test]
    fn answers_are_what_the_protocol_says() {
        let said = |name: &str, kind| answer(&question(7, name, kind, None), false).unwrap();
        let address = said(&format!("A1.{ZONE}"), 1);
        assert_eq!(address[..12], [0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(address.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]));
        let missing = said(&format!("nobody1.{ZONE}"), 1);
        assert_eq!((missing[3] & 0xf, &missing[6..8]), (3, &[0, 0][..]));
        let empty = said(&format!("a1.{ZONE}"), 15);
        assert_eq!((empty[3] & 0xf, &empty[6..8]), (0, &[0, 0][..]));
        assert_eq!(answer(&question(7, "a1.example", 1, None), false), None);
        assert_eq!(answer(&[0; 11], false), None);
    }

    #[test]
    fn an_answer_without_room_is_cut_and_says_so() {
        let cut = answer(&question(1, &format!("text600.{ZONE}"), 16, None), false).unwrap();
        assert!(is_cut(&cut) && cut.len() <= LEAST && cut[6..8] == [0, 0]);
        assert!(length("text600", 16, false, Some(1232)) > LEAST);
        assert!(length("text600", 16, true, None) > LEAST);
        assert!(length("text5000", 16, false, Some(4096)) < LEAST);
    }
}
