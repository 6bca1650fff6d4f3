//! The Docker API proxy with ordinary requests: what goes in comes out, what is not a request is refused, and
//! connections live exactly as long as both sides want them to (catalogue H1–H4, H8).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::{sync::atomic::Ordering, time::Duration};

use stand_in::{End, Machine, soon};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

/// Header case, order, spacing and odd but legal things that a parser would tidy up.
const ODD_REQUEST: &str = "GET //v1.45/../%2e%2e/containers/json?all=1&f=%7B%7D HTTP/1.1\r\nHOST:api.moby.localhost\r\n\
    x-B: 2  \r\nX-a:\t1\r\nx-B: 3\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\nConnection: keep-alive, TE\r\n\r\n";
const ODD_ANSWER: &str = "HTTP/1.1 200 Fine, thanks\r\nserver: Docker/26.1.5 (linux)\r\nAPI-version:  1.45\r\n\
    Content-length: 5\r\nX-Empty:\r\n\r\nhello";
const GET: &str = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// `request` reaches dockerd and `answer` reaches the client, both exactly.
async fn exchange(client: &mut End, engine: &mut End, request: &str, answer: &str) {
    client.send(request).await;
    engine.expect(request).await;
    engine.send(answer).await;
    client.expect(answer).await;
}

/// The first request of a connection reaches dockerd exactly.
async fn asked(machine: &mut Machine, client: &mut End, request: &str) -> End {
    client.send(request).await;
    let mut engine = machine.engine().await;
    engine.expect(request).await;
    engine
}

/// The proxy's own answer: its status line, and that it is an error as dockerd writes them, the last of its connection.
async fn refusal(client: &mut End) -> (String, String) {
    let head = client.head().await;
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    let body = String::from_utf8(client.rest().await).unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    (head.lines().next().unwrap().to_owned(), json["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn bytes_pass_unchanged_and_connections_are_kept() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, ODD_REQUEST).await;
    engine.send(ODD_ANSWER).await;
    client.expect(ODD_ANSWER).await;

    let absolute = "POST http://docker/v1.45/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    exchange(&mut client, &mut engine, absolute, "HTTP/1.1 204 \r\nContent-Length: 7\r\n\r\n").await;
    exchange(&mut client, &mut engine, "GET /a HTTP/1.1\r\n\r\n", OK).await;
    machine.assert_never_dialed_again();
    drop(client);
    engine.expect_end().await;
    soon("task", served).await.unwrap();
}

/// System calls are what a small request costs; on a socket two waits come on top.
#[tokio::test]
async fn a_request_on_a_kept_connection_costs_one_read_and_one_write_per_side() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    let count = |end: &End| end.operations.load(Ordering::SeqCst);
    let before = (count(&client), count(&engine));
    for _ in 0..10 {
        exchange(&mut client, &mut engine, GET, OK).await;
    }
    assert_eq!((count(&client) - before.0, count(&engine) - before.1), (20, 20));
}

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
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, x\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: x, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
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
async fn h4_an_answer_that_stops_early_never_looks_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel",
    ] {
        for reset in [false, true] {
            let mut machine = Machine::new();
            let (mut client, served) = machine.client();
            let mut engine = asked(&mut machine, &mut client, GET).await;
            engine.send(answer).await;
            if reset {
                engine.reset()
            } else {
                drop(engine)
            }
            client.expect(answer).await;
            client.expect_end().await;
            soon("task", served).await.unwrap();
        }
    }
}

#[tokio::test]
async fn h4_broken_chunks_from_dockerd_break_the_answer_off() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    engine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    engine.send("nonsense\r\n0\r\n\r\n").await;
    client.expect_end().await;
    soon("task", served).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_none_become_502() {
    for answer in [
        "",
        "HTTP/1.1 200 O",
        "nonsense\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n",
    ] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        let mut engine = asked(&mut machine, &mut client, GET).await;
        engine.send(answer).await;
        engine.half_close().await;
        let (status, message) = refusal(&mut client).await;
        assert_eq!(status, "HTTP/1.1 502 Bad Gateway", "{}", answer.escape_debug());
        assert!(message.contains("lighter logs"), "{message}");
    }
}

#[tokio::test]
async fn an_endless_head_from_dockerd_is_refused() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    let feed = tokio::spawn(async move { while engine.stream.write_all(b"HTTP/1.1 200 OK ").await.is_ok() {} });
    assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 502 Bad Gateway");
    soon("engine closed", feed).await.unwrap();
}

#[tokio::test]
async fn the_next_request_dials_again_when_dockerd_closed_an_idle_connection() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    for last_words in ["", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"] {
        let mut engine = asked(&mut machine, &mut client, GET).await;
        engine.send(OK).await;
        client.expect(OK).await;
        engine.send(last_words).await;
        engine.half_close().await;
        engine.expect_end().await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_closes_instead_of_answering_closes_for_the_client_too() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    client.send(GET).await;
    engine.expect(GET).await;
    drop(engine);
    // No invented answer: HTTP clients repeat such a request by themselves.
    client.expect_end().await;
    soon("task", served).await.unwrap();
}

#[tokio::test]
async fn h8_expect_continue_is_answered_by_dockerd() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let head = "PUT /containers/c/archive HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, head).await;
    engine.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    exchange(&mut client, &mut engine, "hello", OK).await;
    // Several interim answers, glued to the final one.
    client.send(head).await;
    engine.expect(head).await;
    let interim = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\nA: b\r\n\r\n";
    engine.send(interim.to_owned() + OK).await;
    client.expect(interim.to_owned() + OK).await;
    client.send("hello").await;
    engine.expect("hello").await;
    exchange(&mut client, &mut engine, GET, OK).await;
}

#[tokio::test]
async fn h8_a_refused_expectation_ends_the_connection_because_the_body_may_never_come() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    let head = "PUT /archive HTTP/1.1\r\nContent-Length: 25\r\nExpect: 100-continue\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, head).await;
    // Another interim answer is no invitation.
    let answer = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
    engine.send(answer).await;
    client.expect(answer).await;
    client.expect_end().await;
    client.send("DELETE /everything HTTP/1.1\r\n\r\n").await;
    engine.expect_end().await;
    drop(client);
    soon("task", served).await.unwrap();
}

#[tokio::test]
async fn h8_answers_without_bodies_leave_the_connection_usable() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let head = "HEAD /_ping HTTP/1.1\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, head).await;
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n").await;
    client.expect("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n").await;
    exchange(&mut client, &mut engine, head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    exchange(&mut client, &mut engine, head, "HTTP/1.1 404 Not Found\r\n\r\n").await;
    exchange(&mut client, &mut engine, GET, "HTTP/1.1 304 Not Modified\r\n\r\n").await;
    exchange(&mut client, &mut engine, GET, "HTTP/1.1 204 No Content\r\n\r\n").await;
    exchange(&mut client, &mut engine, GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    exchange(&mut client, &mut engine, GET, OK).await;
    machine.assert_never_dialed_again();
}

#[tokio::test]
async fn h8_requests_after_an_error_and_pipelined_ones_are_served_in_order() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let create = "POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{\"message\":\"no image\"}";
    client.send([create, GET, create, GET].concat()).await;
    let mut engine = machine.engine().await;
    for request in [create, GET, create] {
        engine.expect(request).await;
        engine.send(missing).await;
        client.expect(missing).await;
    }
    engine.expect(GET).await;
    engine.send(OK).await;
    client.expect(OK).await;
    machine.assert_never_dialed_again();
}

#[tokio::test]
async fn h8_a_request_behind_the_last_one_is_not_served() {
    for (last, answer) in [
        ("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n", OK),
        ("GET / HTTP/1.0\r\n\r\n", OK),
        (GET, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK"),
        (GET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK"),
    ] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(last.to_owned() + GET).await;
        let mut engine = machine.engine().await;
        engine.expect(last).await;
        engine.send(answer).await;
        client.expect(answer).await;
        client.expect_end().await;
        engine.expect_end().await;
    }
}

#[tokio::test]
async fn http_1_0_keeps_alive_when_both_ask_for_it_and_reads_to_the_end_otherwise() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let mut engine = asked(&mut machine, &mut client, kept).await;
    engine.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").await;
    client.expect("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    engine.expect("GET / HTTP/1.0\r\n\r\n").await;
    engine.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    drop(engine);
    client.expect("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    client.expect_end().await;
}

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

#[tokio::test]
async fn an_unreachable_engine_is_a_503_that_names_cause_and_cure_even_in_mid_upload() {
    let mut machine = Machine::unreachable("the machine is not running");
    let (mut client, served) = machine.client();
    client.send("POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // A client that writes everything before it reads must get through to reading.
    for _ in 0..64 {
        client.send(["10000\r\n", &"x".repeat(0x10000), "\r\n"].concat()).await;
    }
    let (status, message) = refusal(&mut client).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    for word in ["the machine is not running", "lighter status", "lighter logs"] {
        assert!(message.contains(word), "{message}");
    }
    drop(client);
    soon("task", served).await.unwrap();

    let (mut client, _served) = machine.client();
    client.send("HEAD /_ping HTTP/1.1\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    client.expect_end().await;
    machine.assert_never_dialed_again();
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
