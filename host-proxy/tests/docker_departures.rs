//! The Docker API proxy and clients that go away, or seem to, in the middle of an ordinary request (catalogue H6).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use stand_in::{
    Machine, soon,
    talk::{GET, OK, asked},
};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// `printf 'GET …' | nc -U docker.sock`.
#[tokio::test(start_paused = true)]
async fn h6_a_client_that_half_closes_behind_its_request_gets_its_answer() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(GET).await;
    client.half_close().await;
    let mut engine = machine.engine().await;
    engine.expect(GET).await;
    // dockerd would take an end for a client that has gone.
    engine.expect_quiet(Duration::from_secs(4)).await;
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
    engine.expect_end().await;
    engine.send("OK").await;
    client.expect("OK").await;
    client.expect_end().await;
    soon("task", served).await.unwrap();
}

/// Ctrl-C in `docker events`.
#[tokio::test(start_paused = true)]
async fn h6_a_killed_client_ends_the_stream_that_dockerd_sends_it() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let events = "GET /events HTTP/1.1\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, events).await;
    engine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let killed = Instant::now();
    drop(client);
    engine.expect_end().await;
    assert_eq!(killed.elapsed(), Duration::ZERO, "the end was held back");
    drop(engine);
    soon("task", served).await.unwrap();
}

/// Ctrl-C in `docker stop -t 3600`, before any answer.
#[tokio::test(start_paused = true)]
async fn h6_a_killed_client_is_noticed_before_the_answer_too() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    drop(client);
    engine.expect_end().await;
    drop(engine);
    soon("task", served).await.unwrap();
}

#[tokio::test]
async fn h6_a_reset_client_cuts_dockerd_off_in_every_phase() {
    for (request, answer) in [
        ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", ""),
        (GET, ""),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        (GET, OK),
    ] {
        let mut machine = Machine::new();
        let (mut client, served) = machine.client();
        let mut engine = asked(&mut machine, &mut client, request).await;
        engine.send(answer).await;
        client.expect(answer).await;
        client.reset();
        engine.expect_end().await;
        assert!(engine.stream.write_all(b"more").await.is_err(), "the proxy still holds the connection");
        soon("task", served).await.unwrap();
    }
}
