//! The Docker API proxy and its connections, which live exactly as long as both sides want them to (catalogue H8).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::sync::atomic::Ordering;

use stand_in::{
    End, Machine, soon,
    talk::{GET, OK, asked, exchange},
};

/// Header case, order, spacing and odd but legal things that a parser would tidy up.
const ODD_REQUEST: &str = "GET //v1.45/../%2e%2e/containers/json?all=1&f=%7B%7D HTTP/1.1\r\nHOST:api.moby.localhost\r\n\
    x-B: 2  \r\nX-a:\t1\r\nx-B: 3\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\nConnection: keep-alive, TE\r\n\r\n";
const ODD_ANSWER: &str = "HTTP/1.1 200 Fine, thanks\r\nserver: Docker/26.1.5 (linux)\r\nAPI-version:  1.45\r\n\
    Content-length: 5\r\nX-Empty:\r\n\r\nhello";

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

/// Every order in which the client's next request and the end of dockerd's connection may be noticed.
#[tokio::test]
async fn x1_a_request_is_never_sent_on_a_kept_connection_that_has_ended_already() {
    let create = "POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
    for reset in [false, true].repeat(32) {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        let mut engine = asked(&mut machine, &mut client, create).await;
        engine.send(OK).await;
        client.expect(OK).await;
        client.send(create).await;
        if reset {
            engine.reset()
        } else {
            engine.half_close().await
        }
        let mut restarted = machine.engine().await;
        restarted.expect(create).await;
        restarted.send(OK).await;
        client.expect(OK).await;
    }
}
