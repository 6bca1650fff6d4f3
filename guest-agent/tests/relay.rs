//! The relay between the host's connections and dockerd: every byte arrives, each direction ends by itself, and neither a
//! full nor a vanished peer holds anything. Unix sockets stand in for vsock: the relay only sees descriptors.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lighter_agent::ready;
use lighter_agent::relay::relay;
use rustix::event::PollFlags;
use rustix::net::{SendFlags, send};

/// A client and an engine with the relay between them.
struct Joined {
    client: UnixStream,
    engine: UnixStream,
    relay: JoinHandle<(u64, u64)>,
}

fn joined() -> Joined {
    let (client, a) = UnixStream::pair().unwrap();
    let (engine, b) = UnixStream::pair().unwrap();
    for end in [&client, &engine] {
        end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        end.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    let relay = thread::spawn(move || relay(a.into(), b.into()).unwrap());
    Joined { client, engine, relay }
}

fn read_all(mut from: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes without a period that buffers share.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn h6_the_end_of_the_clients_bytes_leaves_the_engines_way_open() {
    let Joined { client, engine, relay } = joined();
    (&client).write_all(b"hi").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&engine), b"hi");
    (&engine).write_all(b"hi yourself").unwrap();
    drop(engine);
    assert_eq!(read_all(&client), b"hi yourself");
    assert_eq!(relay.join().unwrap(), (2, 11));
}

#[test]
fn h6_the_end_of_the_engines_bytes_leaves_the_clients_way_open() {
    let Joined { client, engine, relay } = joined();
    (&engine).write_all(b"done").unwrap();
    engine.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), b"done");
    (&client).write_all(b"still here").unwrap();
    drop(client);
    assert_eq!(read_all(&engine), b"still here");
    assert_eq!(relay.join().unwrap(), (10, 4));
}

#[test]
fn h6_an_engine_that_reads_no_more_stops_the_client_and_still_answers() {
    let Joined { client, engine, relay } = joined();
    engine.shutdown(Shutdown::Read).unwrap();
    assert!(ready::wait(&client, PollFlags::RDHUP | PollFlags::HUP | PollFlags::OUT, soon()).unwrap());
    // The relay passes the refusal on: sooner or later a write fails, without any answer from the engine.
    let refused = (0..10_000).any(|_| {
        thread::yield_now();
        send(&client, b"x", SendFlags::NOSIGNAL).is_err()
    });
    assert!(refused);
    (&engine).write_all(b"no thanks").unwrap();
    drop(engine);
    let mut answer = [0; 9];
    (&client).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"no thanks");
    relay.join().unwrap();
}

#[test]
fn h6_a_client_that_vanishes_while_the_engine_is_silent_ends_the_connection() {
    let Joined { client, engine, relay } = joined();
    drop(client);
    assert_eq!(read_all(&engine), b"", "the engine sees the end although it never wrote");
    drop(engine);
    relay.join().unwrap();
}

#[test]
fn h6_a_client_that_first_ends_its_input_and_then_vanishes_is_noticed() {
    let Joined { client, engine, relay } = joined();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&engine), b"");
    drop(client);
    // The engine has written nothing, so only the hang-up itself can tell the relay, which refuses the engine's bytes.
    assert!(ready::wait(&engine, PollFlags::HUP, soon()).unwrap());
    relay.join().unwrap();
}

#[test]
fn every_byte_crosses_both_ways_at_once() {
    let Joined { client, engine, relay } = joined();
    let bytes = pattern(8 << 20);
    let (to_engine, to_client) = (bytes.clone(), bytes.clone());
    let (client_writer, engine_writer) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    let writers = [
        thread::spawn(move || {
            (&client_writer).write_all(&to_engine).unwrap();
            client_writer.shutdown(Shutdown::Write).unwrap();
        }),
        thread::spawn(move || {
            (&engine_writer).write_all(&to_client).unwrap();
            engine_writer.shutdown(Shutdown::Write).unwrap();
        }),
    ];
    let at_client = thread::spawn(move || read_all(&client));
    assert!(read_all(&engine) == bytes);
    assert!(at_client.join().unwrap() == bytes);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(relay.join().unwrap(), (8 << 20, 8 << 20));
}

#[test]
fn a_reader_that_stops_holds_its_writer_back_and_nothing_else() {
    let Joined { client, engine, relay } = joined();
    client.set_nonblocking(true).unwrap();
    let mut sent = 0_usize;
    let chunk = [7; 64 * 1024];
    // Nobody reads at the engine: what fits into sockets and one buffer goes, then the client is held back.
    loop {
        match (&client).write(&chunk) {
            Ok(count) => sent += count,
            Err(_) if ready::wait(&client, PollFlags::OUT, Instant::now() + Duration::from_millis(300)).unwrap() => {}
            Err(_) => break,
        }
        assert!(sent < 4 << 20, "the relay takes more than it can pass on");
    }
    client.set_nonblocking(false).unwrap();
    // The other direction does not wait for it.
    (&engine).write_all(b"meanwhile").unwrap();
    let mut meanwhile = [0; 9];
    (&client).read_exact(&mut meanwhile).unwrap();
    assert_eq!(&meanwhile, b"meanwhile");
    drop(client);
    assert_eq!(read_all(&engine).len(), sent, "what was held back arrives after all");
    drop(engine);
    relay.join().unwrap();
}

#[test]
fn a_thousand_connections_leave_no_descriptor_behind() {
    let before = open_descriptors();
    let mut connections: Vec<Joined> = (0..1000).map(|_| joined()).collect();
    for connection in &connections {
        (&connection.client).write_all(b"ping").unwrap();
    }
    for Joined { client, engine, relay } in connections.drain(..) {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&engine), b"ping");
        drop((client, engine));
        relay.join().unwrap();
    }
    assert_eq!(open_descriptors(), before);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
