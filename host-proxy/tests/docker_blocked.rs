//! The Docker API proxy when nothing moves, or too much: whoever is stuck holds little memory and holds up nobody else, and
//! whoever never stops does not drown the other direction (catalogue X8, H3).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;
mod sys;

use std::{io, sync::Arc, time::Duration};

use lighter::{
    docker::serve_connection,
    guest::{BoxFuture, BoxedStream, GuestDialer},
};
use stand_in::{
    End, Machine, SOCKET, soon,
    talk::{GET, OK, asked, exchange, refusal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, join, repeat, sink},
    task::JoinHandle,
    time::{sleep, timeout},
};

const UPLOAD: &str = "POST /build HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n";
const LOGS: &str = "GET /containers/c/logs?follow=1 HTTP/1.1\r\n\r\n";
const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n";
const ATTACH: &str = "POST /containers/c/attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
/// As `UPGRADED`, and what a container writes at once.
const UPGRADED_AND_OUTPUT: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\noutput";

/// An engine that takes whatever comes, at once, and has answered already.
struct Insatiable(&'static str);

impl GuestDialer for Insatiable {
    fn dial(&self, _port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async { Ok(Box::new(join(self.0.as_bytes(), sink())) as BoxedStream) })
    }
}

/// The runtime gives a task so many reads and writes in a turn; an endless direction would use them all, every time.
#[tokio::test]
async fn x8_an_answer_comes_through_beside_an_upload_that_never_waits() {
    for (request, answer) in [(UPLOAD, OK), (ATTACH, UPGRADED_AND_OUTPUT)] {
        let (answers, mut client) = duplex(1024);
        let upload = request.as_bytes().chain(repeat(b'x'));
        let served = tokio::spawn(serve_connection(join(upload, answers), Arc::new(Insatiable(answer))));
        let mut got = vec![0; answer.len()];
        soon("the answer", client.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, answer.as_bytes());
        served.abort();
    }
}

/// Writes until nothing more fits; the paused clock moves only when everything waits.
async fn fill(end: &mut End) -> usize {
    let mut sent = 0;
    while let Ok(count) = timeout(Duration::from_millis(1), end.stream.write(&[b'x'; 8192])).await {
        sent += count.unwrap();
        assert!(sent < 1 << 20, "no back-pressure");
    }
    sent
}

/// A connection in which nothing moves any more, and how many bytes it took until then.
async fn stuck(machine: &mut Machine, number: usize) -> (End, Option<End>, JoinHandle<()>, usize) {
    let (mut client, served) = machine.client();
    let (engine, taken) = match number % 5 {
        // A head that never ends.
        0 => {
            client.send("GET /half").await;
            (None, 0)
        }
        // An engine that has stopped reading.
        1 => {
            let engine = asked(machine, &mut client, UPLOAD).await;
            (Some(engine), fill(&mut client).await)
        }
        // A client that has stopped reading.
        2 => {
            let mut engine = asked(machine, &mut client, LOGS).await;
            engine.send(ENDLESS).await;
            (Some(engine), 0)
        }
        // Both at once.
        3 => {
            let mut engine = asked(machine, &mut client, ATTACH).await;
            engine.send(UPGRADED).await;
            client.expect(UPGRADED).await;
            (Some(engine), fill(&mut client).await)
        }
        // A body that is held, and never comes.
        _ => {
            client.send("POST /containers/create HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{").await;
            (None, 0)
        }
    };
    let Some(mut engine) = engine else { return (client, None, served, 0) };
    let taken = taken + if number % 5 >= 2 { fill(&mut engine).await } else { 0 };
    (client, Some(engine), served, taken)
}

#[tokio::test(start_paused = true)]
async fn x8_five_hundred_stuck_streams_hold_little_and_hold_up_nobody() {
    let mut machine = Machine::new();
    let before = sys::resident_bytes();
    let mut held = Vec::new();
    for number in 0..500 {
        let connection = stuck(&mut machine, number).await;
        let directions = if number % 5 == 3 { 2 } else { 1 };
        assert!(connection.3 <= directions * (2 * SOCKET + (64 << 10)), "{number}: {}", connection.3);
        held.push(connection);
    }
    if let (Some(before), Some(after)) = (before, sys::resident_bytes()) {
        // Both ways 64 KiB, and what the test itself holds of each: four "sockets".
        let bound = 500 * (2 * (64 << 10) + 4 * SOCKET as u64 + (32 << 10));
        assert!(after.saturating_sub(before) < bound, "{} MiB", after.saturating_sub(before) >> 20);
    }
    // Among all of them, others are served.
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    for _ in 0..100 {
        exchange(&mut client, &mut engine, GET, OK).await;
    }
    // Two that were not served in time heard so; everything else waits on.
    sleep(Duration::from_secs(120)).await;
    for (number, (client, engine, _, _)) in held.iter_mut().enumerate() {
        match number % 5 {
            0 | 4 => assert!(refusal(client).await.0.contains("408"), "{number}"),
            _ => assert!(engine.is_some()),
        }
    }
    for (client, engine, served, _) in held {
        drop((client, engine));
        soon("task", served).await.unwrap();
    }
}

/// `logs -f` of a silent container, `attach` to an idle shell.
#[tokio::test(start_paused = true)]
async fn h3_streams_may_be_silent_for_a_month_in_both_directions() {
    let month = Duration::from_secs(30 * 86_400);
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, ATTACH).await;
    sleep(month).await;
    engine.send(UPGRADED).await;
    client.expect(UPGRADED).await;
    for _ in 0..3 {
        sleep(month).await;
        client.send("in").await;
        engine.expect("in").await;
        sleep(month).await;
        engine.send("out").await;
        client.expect("out").await;
    }
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, LOGS).await;
    sleep(month).await;
    engine.send(ENDLESS).await;
    client.expect(ENDLESS).await;
    sleep(month).await;
    engine.send("line").await;
    client.expect("line").await;
}
