//! Forty names and types, answers of 60 bytes to 64 KiB, over both transports: what the host's name server says is what the
//! guest gets, byte for byte, and what does not fit a datagram is asked again over TCP.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, UdpSocket};

use super::message::tests::query;
use super::message::{self, Query, is_truncated};
use super::*;

/// Record types by number: every one in use, a question for all, and some that nobody has assigned.
const KINDS: [u16; 40] = [
    1, 2, 5, 6, 10, 12, 13, 15, 16, 17, 18, 24, 25, 28, 29, 33, 35, 36, 37, 39, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
    52, 53, 59, 60, 64, 65, 99, 255, 257, 65_280,
];
/// Lengths of answers in bytes, round the limits that count: 512, common EDNS sizes, a datagram's and a message's longest.
const LENGTHS: [usize; 12] = [60, 300, 511, 512, 513, 1232, 1233, 4096, 4097, 16_000, 65_000, 65_535];
/// What an asker says it takes in a datagram; `None` says nothing.
const ROOMS: [Option<u16>; 4] = [None, Some(1232), Some(4096), Some(u16::MAX)];

/// Different for every index, in five shapes: short, of a service, with the longest label, nearly the longest name, mixed case.
fn name(index: usize) -> String {
    match index % 5 {
        0 => format!("a{index}.example"),
        1 => format!("_service._tcp.n{index}.example"),
        2 => format!("{index:x<63}.example"),
        3 => format!("{}n{index}.example", "deep.".repeat(40)),
        _ => format!("Mixed-Case{index}.EXAMPLE"),
    }
}

#[test]
fn the_table_has_forty_names_and_forty_types() {
    let names: BTreeSet<String> = (0..KINDS.len()).map(|index| name(index).to_ascii_lowercase()).collect();
    assert_eq!((names.len(), BTreeSet::from(KINDS).len()), (40, 40));
    assert!(names.iter().any(|name| name.split('.').next().is_some_and(|label| label.len() == 63)));
}

/// The answer of so many bytes to a question: its header, the question, and bytes that nobody here reads.
fn answer(question: &[u8], length: usize) -> Vec<u8> {
    let mut answer = Query::parse(question).unwrap().fail(message::Code::None);
    let filler = (answer.len()..length.max(answer.len())).map(|at| (at * 31 % 251) as u8);
    answer.extend(filler.collect::<Vec<_>>());
    answer
}

/// A name server on this host that answers everything with so many bytes, whatever the asker has room for.
async fn server(length: usize) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let (listener, datagrams, address) = loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        // The same port over UDP may be somebody else's.
        if let Ok(datagrams) = UdpSocket::bind(address).await {
            break (listener, datagrams, address);
        }
    };
    let over_udp = async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (count, from) = datagrams.recv_from(&mut buffer).await.unwrap();
            let mut answer = answer(&buffer[..count], length);
            if answer.len() > 65_507 {
                answer = Query::parse(&buffer[..count]).unwrap().truncated();
            }
            datagrams.send_to(&answer, from).await.unwrap();
        }
    };
    let over_tcp = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let question = upstream::read(&mut stream).await.unwrap().unwrap();
            upstream::write(&mut stream, &answer(&question, length)).await.unwrap();
        }
    };
    let task = tokio::spawn(async move {
        tokio::join!(over_udp, over_tcp);
    });
    (address, task)
}

/// A name server of the guest's that asks this one.
fn dns(server: SocketAddr) -> (Dns, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("resolv.conf");
    std::fs::write(&path, server.to_string()).unwrap();
    let mut dns = Dns::new(files.path().join("hosts"), path.clone(), Policy { host_access: HostAccess::No });
    // With a port, which the real file has no place for.
    dns.resolver =
        Watched::new(path, |text| Resolver { servers: text.parse().into_iter().collect(), search: Vec::new() });
    (dns, files)
}

fn with_room(mut question: Vec<u8>, room: Option<u16>) -> Vec<u8> {
    if let Some(room) = room {
        question[11] = 1;
        question.extend_from_slice(&[0, 0, 41]);
        question.extend_from_slice(&room.to_be_bytes());
        question.extend_from_slice(&[0; 6]);
    }
    question
}

#[tokio::test]
async fn n8_forty_names_and_types_of_every_size_pass_over_both_transports() {
    for (round, length) in LENGTHS.into_iter().enumerate() {
        let (address, serving) = server(length).await;
        let (dns, _files) = dns(address);
        for (index, kind) in KINDS.into_iter().enumerate() {
            let room = ROOMS[(index + round) % ROOMS.len()];
            let question = with_room(query(index as u16, &name(index), kind), room);
            let want = answer(&question, length);
            let said = dns.resolve(&question, Transport::Datagram).await.unwrap();
            let fits = want.len() <= usize::from(room.unwrap_or(512)) && want.len() <= 65_507;
            if fits {
                assert!(said == want, "{kind} {length} {room:?}");
            } else {
                assert!(is_truncated(&said) && said.len() <= 512, "{kind} {length} {room:?}");
                assert_eq!(message::id(&said), message::id(&question));
            }
            assert!(dns.resolve(&question, Transport::Stream).await.unwrap() == want, "{kind} {length}");
        }
        serving.abort();
    }
}
