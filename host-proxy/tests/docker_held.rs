//! The Docker API proxy and requests whose body it holds back, because a path of the host may be in it: until dockerd may see all
//! of it, within bounds of size and time, and read in one way only (catalogue H3, H8, H9).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use lighter::docker::mounts::MAX_BODY;
use serde_json::json;
use stand_in::{
    End, Machine, OWN_SOCKET,
    paths::{chunked, create, of_windows, passes, post, refused},
    talk::{GET, OK, exchange, refusal},
};
use tokio::time::sleep;

#[tokio::test]
async fn h9_bodies_that_two_readers_could_read_differently_are_refused() {
    for (body, words) in [
        (r#"{"HostConfig":{},"hostConfig":{"Binds":["/:/x"]}}"#, "HostConfig is given twice"),
        (r#"{"HostConfig":{"Binds":[],"Binds":["/:/x"]}}"#, "Binds is given twice"),
        (r#"{"HostConfig":{"Binds":"/:/x"}}"#, "Binds in the request's body is not a list: "),
        (r#"{"HostConfig":{"Binds":["\ud800:/x"]}}"#, "an entry of Binds in the request's body is not text: "),
        (r#"{"HostConfig":{"Binds":["C:\\src:/x"]}} trailing"#, of_windows()[0]),
    ] {
        for request in [post("/containers/create", body), chunked("/containers/create", body)] {
            let message = refused(&request).await;
            assert!(message.contains(words), "{body}: {message}");
        }
    }
}

#[tokio::test]
async fn h9_a_body_beyond_the_limit_is_refused_before_it_is_read() {
    // It hears that before it is asked to send anything.
    let long =
        format!("POST /containers/create HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
    let chunks = "POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let spaces = format!("{chunks}{}", format!("100000\r\n{}\r\n", " ".repeat(1 << 20)).repeat(10));
    let sizes = format!("{chunks}{}", "1\r\n \r\n".repeat(2 << 20));
    for request in [long, spaces, sizes] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(request).await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 413 Request Entity Too Large");
        machine.assert_never_dialed_again();
    }
    // A large one that fits, pushed in before anybody reads an answer.
    let env = json!({"Env": ["x".repeat(MAX_BODY - 100)], "HostConfig": {"Binds": ["/run:/b"]}});
    passes(&create(&env)).await;
}

#[tokio::test]
async fn h9_dockerd_hears_nothing_before_the_whole_body_is_there() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let request = create(&json!({"Image": "i", "HostConfig": {"Binds": ["/run:/b"]}}));
    for byte in request.bytes() {
        machine.assert_never_dialed_again();
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    let mut engine = machine.engine().await;
    engine.expect(&request).await;
    engine.send(OK).await;
    client.expect(OK).await;
    // Cut short, it goes on when nothing more can come, end and all, for dockerd to say what is missing.
    client.send(&request[..request.len() - 1]).await;
    engine.expect_quiet(Duration::from_millis(20)).await;
    client.half_close().await;
    engine.expect(&request[..request.len() - 1]).await;
    engine.expect_end().await;
    let complaint = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nEOF";
    engine.send(complaint).await;
    client.expect(complaint).await;
    client.expect_end().await;
}

/// What dockerd can make nothing of, it says better than anybody else. Where it reads a value and stops, that was looked at.
#[tokio::test]
async fn h9_bodies_that_dockerd_cannot_read_either_pass_for_its_complaint() {
    for body in [
        "{",
        "[1,2]",
        "\"x\"",
        "7",
        "nul",
        "{'a':1}",
        r#"{"HostConfig":{}"#,
        r#"{"Image":"i"}{"HostConfig":{"Binds":["C:\\src:/x"]}}"#,
        r#"{"HostConfig":{"Binds":["C:\\src:/x"]}"#,
    ] {
        passes(&post("/containers/create", body)).await;
        passes(&chunked("/v1.45/services/create", body)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn h3_a_held_body_that_trickles_in_is_given_a_minute() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    client.send("POST /volumes/create HTTP/1.1\r\nContent-Length: 100\r\n\r\n").await;
    for _ in 0..59 {
        client.send(" ").await;
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 408 Request Timeout");
    machine.assert_never_dialed_again();
}

/// dockerd cannot say that it wants the body before it has seen the head.
#[tokio::test]
async fn h8_a_client_that_waits_for_its_100_is_told_to_send_what_is_held() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let head = "POST /volumes/create HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.send(head).await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("{}").await;
    let mut engine = machine.engine().await;
    engine.expect(format!("{head}{{}}")).await;
    // It has heard that once, as it would from dockerd itself.
    engine.send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")).await;
    client.expect(OK).await;
    exchange(&mut client, &mut engine, GET, OK).await;
}

/// dockerd reads as much JSON as there is, and would make a folder of that name.
#[tokio::test]
async fn h9_a_body_that_its_client_cuts_short_gives_nobody_the_hosts_path() {
    let body = format!("{{\"HostConfig\":{{\"Binds\":[\"{OWN_SOCKET}:/s\"]}}}}");
    for request in [
        format!("POST /containers/create HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 1),
        format!("POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
    ] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(&request).await;
        client.half_close().await;
        assert_eq!(refusal(&mut client).await.0, "HTTP/1.1 400 Bad Request");
        machine.assert_never_dialed_again();
    }
}

/// A path is one in the machine, also while the engine is out of reach: no request waits for it half read.
#[tokio::test]
async fn h9_a_held_request_hears_why_the_engine_cannot_be_reached() {
    let machine = Machine::unreachable("the machine is not running");
    let (mut client, _served): (End, _) = machine.client();
    client.send(create(&json!({"HostConfig": {"Binds": ["/run:/b"]}}))).await;
    let (status, message) = refusal(&mut client).await;
    assert!(status.contains("503") && message.contains("the machine is not running"), "{message}");
}
