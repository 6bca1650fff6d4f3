//! What is in the table. Called by `names`.

/// The zone of all its names.
pub const ZONE: &str = "table.test";
/// Different names in it, and different types.
pub const NAMES: usize = 52;
/// See [`NAMES`].
pub const KINDS: usize = 15;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const HINFO: u16 = 13;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;
const SSHFP: u16 = 44;
const TLSA: u16 = 52;
const HTTPS: u16 = 65;
const CAA: u16 = 257;

/// A question and what is known.
pub struct Entry {
    pub name: String,
    pub kind: u16,
    /// Else nobody has the name.
    pub exists: bool,
    pub records: Vec<Record>,
}

/// One record of the name that was asked for, or of `owner`.
pub struct Record {
    pub owner: Option<String>,
    pub kind: u16,
    pub data: Vec<u8>,
}

fn full(name: &str) -> String {
    format!("{name}.{ZONE}")
}

fn wire(name: &str) -> Vec<u8> {
    super::wire(&full(name))
}

fn entry(name: &str, kind: u16, data: Vec<Vec<u8>>) -> Entry {
    let records = data.into_iter().map(|data| Record { owner: None, kind, data }).collect();
    Entry { name: full(name), kind, exists: true, records }
}

/// A name that leads to others, one after another, and the last one's record.
fn alias(name: &str, kind: u16, on_the_way: &[&str], data: Vec<u8>) -> Entry {
    let mut records = Vec::new();
    let mut owner = None;
    for next in on_the_way {
        records.push(Record { owner: owner.replace(full(next)), kind: CNAME, data: wire(next) });
    }
    records.push(Record { owner, kind, data });
    Entry { name: full(name), kind, exists: true, records }
}

/// Text records that make the whole answer so many bytes long.
fn text(name: &str, length: usize) -> Entry {
    // Header, question; then for each record pointer, type, class, time, length.
    let mut left = length - 12 - wire(name).len() - 4;
    let mut records = Vec::new();
    while left > 0 {
        // 4096 bytes of data at most, and never a rest that is too short for a record of its own.
        let size = if left <= 12 + 4096 { left } else { 12 + 4000 };
        left -= size;
        records.push(strings(size - 12));
    }
    entry(name, TXT, records)
}

/// Character strings of so many bytes with their lengths.
fn strings(mut length: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(length);
    while length > 0 {
        let size = (length - 1).min(255);
        data.push(size as u8);
        data.extend((0..size).map(|at| b'a' + ((at * 7 + length) % 26) as u8));
        length -= 1 + size;
    }
    data
}

fn number(number: u16, rest: Vec<u8>) -> Vec<u8> {
    [number.to_be_bytes().to_vec(), rest].concat()
}

fn service(priority: u16, port: u16, host: &str) -> Vec<u8> {
    number(priority, number(5, number(port, wire(host))))
}

fn authority(serial: u32) -> Vec<u8> {
    let numbers = [serial, 7200, 900, 1_209_600, 300].map(u32::to_be_bytes).concat();
    [wire("ns1"), wire("hostmaster"), numbers].concat()
}

fn tagged(flags: u8, tag: &str, value: &str) -> Vec<u8> {
    [&[flags, tag.len() as u8], tag.as_bytes(), value.as_bytes()].concat()
}

/// All of it, made anew: the table is small but for its longest answers.
pub fn entries() -> Vec<Entry> {
    let v4 = |last: u8| vec![192, 0, 2, last];
    let v6 = |last: u8| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    let mut all = vec![
        entry("a1", A, vec![v4(1)]),
        entry("a3", A, vec![v4(3), v4(4), v4(5)]),
        entry("a30", A, (0..30).map(v4).collect()),
        entry("a200", A, (0..200).map(v4).collect()),
        entry("Mixed-CASE", A, vec![v4(7)]),
        entry("under_score", A, vec![v4(8)]),
        entry("*.wild", A, vec![v4(9)]),
        entry("xn--bcher-kva", A, vec![v4(10)]),
        entry(&"l".repeat(63), A, vec![v4(11)]),
        entry(&["deep"; 46].join("."), A, vec![v4(12)]),
        entry("both", A, vec![v4(13)]),
        entry("both", AAAA, vec![v6(13)]),
        entry("six1", AAAA, vec![v6(1)]),
        entry("six20", AAAA, (0..20).map(v6).collect()),
        entry("six300", AAAA, (0..=255).chain(0..44).map(v6).collect()),
        alias("alias", A, &["a1"], v4(1)),
        alias("chain", A, &["hop1", "hop2", "hop3", "hop4", "hop5", "a1"], v4(1)),
        alias("alias6", AAAA, &["six1"], v6(1)),
        entry("bare-alias", CNAME, vec![wire("a1")]),
        entry("mail", MX, vec![number(10, wire("mx1")), number(20, wire("mx2"))]),
        entry("mail40", MX, (0..40).map(|rank| number(rank, wire(&format!("mx{rank}")))).collect()),
        entry("no-mail", MX, vec![number(0, vec![0])]),
        entry("text", TXT, vec![strings(201)]),
        entry("text-empty", TXT, vec![vec![0]]),
        entry("text-many", TXT, (1..40).map(strings).collect()),
        entry("_http._tcp.web", SRV, vec![service(1, 8080, "a1"), service(2, 8081, "a3")]),
        entry("_ldap._tcp", SRV, (0..20).map(|rank| service(rank, 389, &format!("dc{rank}"))).collect()),
        entry("7.2.0.192.reverse", PTR, vec![wire("mixed-case")]),
        entry(&format!("{}reverse6", "0.".repeat(32)), PTR, vec![wire("six1")]),
        entry("", NS, vec![wire("ns1"), wire("ns2")]),
        entry("delegated", NS, (0..13).map(|at| wire(&format!("ns{at}.delegated"))).collect()),
        entry("", SOA, vec![authority(2_026_112_801)]),
        entry("sub", SOA, vec![authority(1)]),
        entry("issue", CAA, vec![tagged(0, "issue", "ca.example"), tagged(128, "iodef", "mailto:a@table.test")]),
        entry("machine", HINFO, vec![[strings(7), strings(9)].concat()]),
        entry("rewrite", NAPTR, vec![number(100, number(10, [&strings(2)[..], &strings(8), &[0, 0]].concat()))]),
        entry("key", SSHFP, vec![[vec![4, 2], vec![0x5a; 32]].concat()]),
        entry("_443._tcp.web", TLSA, vec![[vec![3, 1, 1], vec![0xa5; 32]].concat()]),
        entry("svc", HTTPS, vec![number(1, vec![0, 0, 1, 0, 3, 2, b'h', b'2'])]),
        // There, but not of this type.
        entry("empty", A, vec![]),
        entry("empty", AAAA, vec![]),
    ];
    all.extend([512, 513, 600, 1232, 1233, 4096, 4097, 5000].map(|length| text(&format!("text{length}"), length)));
    all.extend([20_000, 50_000, 65_000, super::LONGEST].map(|length| text(&format!("text{length}"), length)));
    for name in ["nobody1", "nobody2.nowhere"] {
        all.push(Entry { exists: false, ..entry(name, A, vec![]) });
    }
    all
}
