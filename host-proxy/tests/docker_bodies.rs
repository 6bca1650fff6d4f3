//! The Docker API proxy and the bodies of requests: passed on as they are, and never looking complete when they are not
//! (catalogue H3, H4), whichever of upload and answer ends first.
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use stand_in::{
    Machine, soon,
    talk::{GET, OK, asked, exchange, refusal},
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn h3_bodies_and_answers_may_take_days() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let head = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, head).await;
    sleep(Duration::from_secs(3 * 86_400)).await;
    client.send("1\r\na\r\n").await;
    engine.expect("1\r\na\r\n").await;
    sleep(Duration::from_secs(3 * 86_400)).await;
    client.send("0\r\n\r\n").await;
    engine.expect("0\r\n\r\n").await;
    sleep(Duration::from_secs(3 * 86_400)).await;
    engine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n").await;
    client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n").await;
    sleep(Duration::from_secs(3 * 86_400)).await;
    engine.send("b\r\n0\r\n\r\n").await;
    client.expect("b\r\n0\r\n\r\n").await;
    exchange(&mut client, &mut engine, GET, OK).await;
}

#[tokio::test]
async fn h4_broken_chunks_are_refused_and_dockerd_sees_no_end_of_body() {
    for chunk in ["10000000000000000\r\n", "z\r\n", "5\nhello", "2\r\nabc\r\n", "1;\0\r\n", "0\r\nA: b\nC: d\r\n\r\n"] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        let head = "POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut engine = asked(&mut machine, &mut client, head).await;
        client.send(chunk).await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 400 Bad Request", "{}", chunk.escape_debug());
        let got = engine.rest().await;
        assert!(!got.ends_with(b"0\r\n\r\n"), "{}", got.escape_ascii());
    }
}

#[tokio::test]
async fn h4_a_body_cut_short_ends_short_at_dockerd_whose_answer_arrives() {
    for (head, part) in [("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
        let mut machine = Machine::new();
        let (mut client, served) = machine.client();
        let request = format!("POST /build HTTP/1.1\r\n{head}\r\n\r\n{part}");
        client.send(&request).await;
        client.half_close().await;
        let mut engine = machine.engine().await;
        engine.expect(&request).await;
        engine.expect_end().await;
        let answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nEOF";
        engine.send(answer).await;
        client.expect(answer).await;
        client.expect_end().await;
        soon("task", served).await.unwrap();
    }
}

#[tokio::test]
async fn h4_chunks_extensions_and_trailers_pass_unchanged() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let request = "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n\
        003;e=\"f\"\r\n\0\r\n\r\nA\r\n0123456789\r\n0;last\r\nX: y\r\nZ:\r\n\r\n";
    let answer = request.replace("POST /a HTTP/1.1", "HTTP/1.1 200 OK");
    let mut engine = asked(&mut machine, &mut client, request).await;
    engine.send(&answer).await;
    client.expect(&answer).await;
    exchange(&mut client, &mut engine, GET, OK).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_arrives_and_the_rest_still_passes() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let part = "POST /build HTTP/1.1\r\nContent-Length: 8\r\n\r\nabc";
    let mut engine = asked(&mut machine, &mut client, part).await;
    engine.send(OK).await;
    client.expect(OK).await;
    client.send("defgh".to_owned() + GET).await;
    engine.expect("defgh".to_owned() + GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
}

#[tokio::test]
async fn dockerd_that_stops_reading_an_upload_gets_its_answer_through() {
    // More than the client's side holds: the answer's way is blocked for as long as the client only writes.
    let text = "n".repeat(40_000);
    for length in ["Content-Length: 40000\r\n", ""] {
        let answer = &format!("HTTP/1.1 413 Too Large\r\n{length}\r\n{text}");
        let mut machine = Machine::new();
        let (mut client, served) = machine.client();
        let part = "POST /build HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n";
        let mut engine = asked(&mut machine, &mut client, part).await;
        engine.send(answer).await;
        drop(engine);
        for _ in 0..64 {
            client.send([0; 0x10000]).await;
        }
        client.expect(answer).await;
        client.half_close().await;
        client.expect_end().await;
        soon("task", served).await.unwrap();
    }
}
