//! The Docker API proxy and the heads of requests: what is not one request for every reader is refused, whatever its size
//! and however slowly it comes (catalogue H1–H3).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use stand_in::{
    Machine, soon,
    talk::{GET, OK, asked, refusal},
};
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn h1_requests_that_two_readers_could_read_differently_are_refused() {
    for request in [
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: \x0c5\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\nA: b\n\n",
        "GET / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / x HTTP/1.1\r\n\r\n",
        "GET\t/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /\r\n\r\n",
        "G@T / HTTP/1.1\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "CONNECT docker:80 HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\n",
    ] {
        let mut machine = Machine::new();
        let (mut client, served) = machine.client();
        client.send(request).await;
        let (status, message) = refusal(&mut client).await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{}", request.escape_debug());
        assert!(message.starts_with("the request is malformed: "), "{message}");
        machine.assert_never_dialed_again();
        drop(client);
        soon("task", served).await.unwrap();
    }
}

/// With the status that dockerd has for it.
#[tokio::test]
async fn h1_transfer_codings_other_than_one_chunked_are_refused() {
    for request in [
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: x, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(request).await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 501 Not Implemented", "{}", request.escape_debug());
        machine.assert_never_dialed_again();
    }
}

#[tokio::test]
async fn h1_other_versions_are_named_as_the_cause() {
    for request in ["PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.2\r\n\r\n", "GET / HTTP/0.9\r\n\r\n"] {
        let machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(request).await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 505 HTTP Version Not Supported");
    }
}

#[tokio::test(start_paused = true)]
async fn h1_no_byte_of_a_malformed_head_reaches_dockerd_on_a_kept_connection() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    client.send("POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 30\r\n\r\nDELETE /b HTTP/1.1\r\n\r\n").await;
    assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 400 Bad Request");
    let refused = Instant::now();
    engine.expect_end().await;
    assert_eq!(refused.elapsed(), Duration::ZERO, "dockerd has to wait for a client that was refused");
}

#[tokio::test]
async fn h2_long_heads_pass_up_to_a_limit() {
    let url = format!("GET /{} HTTP/1.1\r\n\r\n", "u".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    let large = format!("GET / HTTP/1.1\r\nX-Registry-Auth: {}\r\n\r\n", "x".repeat(900_000));
    for request in [url, many, large] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(&request).await;
        let mut engine = machine.engine().await;
        engine.expect(&request).await;
        engine.send(OK).await;
        client.expect(OK).await;
    }
}

#[tokio::test]
async fn h2_heads_beyond_the_limit_are_refused_with_bounded_memory() {
    for line in ["a: b\r\n".repeat(400_000), "x".repeat(2 << 20)] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        // It goes on writing behind the refusal, as an uploading client does, and still gets to read it.
        client.send(format!("GET / HTTP/1.1\r\nA: {line}\r\n\r\n")).await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 431 Request Header Fields Too Large");
        machine.assert_never_dialed_again();
    }
}

#[tokio::test(start_paused = true)]
async fn h3_a_head_that_trickles_in_is_given_a_minute() {
    let machine = Machine::new();
    let (mut client, served) = machine.client();
    // Silence before the first byte is no fault.
    sleep(Duration::from_secs(86_400)).await;
    for byte in "GET /_ping HTTP/1.1\r\nHost: x\r\nUser-Agent: slow loris".bytes().take(59) {
        client.send([byte]).await;
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 408 Request Timeout");
    drop(client);
    soon("task", served).await.unwrap();
}
