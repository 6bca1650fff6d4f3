//! The Docker API proxy and what dockerd answers, or does not: broken answers break off, missing ones are explained
//! (catalogue H4, H7).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use stand_in::{
    Machine, soon,
    talk::{GET, OK, asked, exchange, refusal},
};
use tokio::io::AsyncWriteExt;

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

/// A small answer that would unpack to gigabytes is a small answer.
#[tokio::test]
async fn h7_compressed_answers_pass_as_they_are() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let mut engine = asked(&mut machine, &mut client, GET).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 24\r\n\r\n";
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xff\xff\xff\xff\xff\xff\0\r\n\r\n\x01\x02\x03";
    engine.send([head.as_bytes(), packed].concat()).await;
    client.expect([head.as_bytes(), packed].concat()).await;
    exchange(&mut client, &mut engine, GET, OK).await;
}
