//! The Docker API proxy behind a hijack: bytes both ways, half-closes, breaks, and long streams of any kind at bounded
//! memory (catalogue H5–H7).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::time::Duration;

use sha2::{Digest, Sha256};
use stand_in::{End, Machine, SOCKET, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::{sleep, timeout},
};

const ATTACH: &str = "POST /v1.45/containers/c/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: x\r\n\
    Content-Length: 0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
    Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
/// As dockerode and older docker-py ask.
const PLAIN_EXEC: &str = "POST /exec/e/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
    Content-Length: 27\r\n\r\n{\"Detach\":false,\"Tty\":true}";
const RAW: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
/// Both ways into a hijacked stream.
const STYLES: [(&str, &str); 2] = [(ATTACH, UPGRADED), (PLAIN_EXEC, RAW)];

/// A hijacked stream: the client, dockerd, and the proxy's task.
async fn hijacked((request, answer): (&str, &str)) -> (End, End, JoinHandle<()>) {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(request).await;
    let mut engine = machine.engine().await;
    engine.expect(request).await;
    engine.send(answer).await;
    client.expect(answer).await;
    (client, engine, served)
}

/// `printf hi | docker run -i IMAGE cat`, and with nothing at all for stdin.
#[tokio::test]
async fn h6_the_end_of_stdin_reaches_the_container_and_its_output_comes_back() {
    for style in STYLES {
        for stdin in ["hi", ""] {
            let (mut client, mut engine, served) = hijacked(style).await;
            client.send(stdin).await;
            client.half_close().await;
            engine.expect(stdin).await;
            engine.expect_end().await;
            engine.send(stdin).await;
            engine.half_close().await;
            client.expect(stdin).await;
            client.expect_end().await;
            soon("task", served).await.unwrap();
        }
    }
}

/// `docker run -i IMAGE sh -c 'exec >&-; cat > /file'`: output ends first, input goes on.
#[tokio::test]
async fn h6_the_end_of_output_leaves_stdin_open() {
    for style in STYLES {
        let (mut client, mut engine, served) = hijacked(style).await;
        engine.send("bye").await;
        engine.half_close().await;
        client.expect("bye").await;
        client.expect_end().await;
        client.send("still here").await;
        engine.expect("still here").await;
        client.half_close().await;
        engine.expect_end().await;
        soon("task", served).await.unwrap();
    }
}

#[tokio::test]
async fn h6_a_side_that_goes_away_takes_the_stream_with_it() {
    for style in STYLES {
        // The container is removed, or the machine stops.
        let (mut client, engine, served) = hijacked(style).await;
        engine.reset();
        client.expect_end().await;
        assert!(client.stream.write_all(b"more").await.is_err(), "the proxy still holds the client");
        soon("task", served).await.unwrap();

        // The client is killed: by a reset, or noticed when output comes for it.
        let (client, mut engine, served) = hijacked(style).await;
        client.reset();
        engine.expect_end().await;
        soon("task", served).await.unwrap();

        let (client, mut engine, served) = hijacked(style).await;
        drop(client);
        engine.expect_end().await;
        engine.send("for nobody").await;
        soon("task", served).await.unwrap();
        assert!(engine.stream.write_all(b"more").await.is_err(), "the proxy still holds dockerd");
    }
}

/// `cat BIG | docker run -i IMAGE head -1`: stdin breaks, output must not.
#[tokio::test(start_paused = true)]
async fn h6_a_container_that_leaves_its_stdin_unread_still_gets_its_output_through() {
    for style in STYLES {
        let (client, mut engine, served) = hijacked(style).await;
        let (mut output, mut stdin) = tokio::io::split(client.stream);
        let writer = tokio::spawn(async move { while stdin.write_all(&[b'i'; 4096]).await.is_ok() {} });
        engine.expect("i".repeat(10_000)).await;
        // More than its reader holds, so that some is still on its way when stdin breaks.
        let text = "o".repeat(2 * SOCKET + SOCKET / 2);
        engine.send(&text).await;
        drop(engine);
        sleep(Duration::from_secs(1)).await;
        let mut got = Vec::new();
        soon("output", output.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, text.into_bytes());
        writer.abort();
        let _ = writer.await;
        drop(output);
        soon("task", served).await.unwrap();
    }
}

#[tokio::test]
async fn h5_bytes_glued_to_either_head_are_not_lost() {
    for (request, answer) in STYLES {
        let mut machine = Machine::new();
        let (mut client, served) = machine.client();
        client.send(format!("{request}early stdin")).await;
        client.half_close().await;
        let mut engine = machine.engine().await;
        engine.expect(request).await;
        engine.send(format!("{answer}early output")).await;
        engine.expect("early stdin").await;
        engine.expect_end().await;
        drop(engine);
        client.expect(format!("{answer}early output")).await;
        client.expect_end().await;
        soon("task", served).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn h5_early_stdin_is_not_sent_before_dockerd_agreed() {
    for (request, answer) in STYLES {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(request).await;
        client.send("GET /secret HTTP/1.1\r\n\r\n").await;
        client.half_close().await;
        let mut engine = machine.engine().await;
        engine.expect(request).await;
        engine.expect_quiet(Duration::from_secs(60)).await;
        engine.send(answer).await;
        engine.expect("GET /secret HTTP/1.1\r\n\r\n").await;
        engine.expect_end().await;
    }
}

#[tokio::test]
async fn h5_an_upgrade_that_dockerd_refuses_leaves_ordinary_http() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    client.send(ATTACH).await;
    let mut engine = machine.engine().await;
    engine.expect(ATTACH).await;
    let conflict = "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n\
        {\"message\":\"not running yet\"}";
    engine.send(conflict).await;
    client.expect(conflict).await;
    // The same connection: the refusal's length, and not its end, ended the answer.
    client.send(ATTACH).await;
    engine.expect(ATTACH).await;
    engine.send(UPGRADED).await;
    client.expect(UPGRADED).await;
    client.send("\0\x01\r\n\r\n").await;
    engine.expect("\0\x01\r\n\r\n").await;
}

#[tokio::test]
async fn h5_every_kind_of_upgrade_is_dockerds_business() {
    for upgrade in ["h2c", "tcp", "websocket", "TCP", "something/9"] {
        let request = format!("POST /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\nX: y\r\n\r\n");
        let (mut client, mut engine, _served) = hijacked((&request, &answer)).await;
        // BuildKit: the daemon speaks first, and neither side's HTTP/2 is looked at.
        engine.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client.expect("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client.send("\0\0\0\x04\x01\0\0\0\0").await;
        engine.expect("\0\0\0\x04\x01\0\0\0\0").await;
    }
}

/// Only what Docker hijacks is raw: a request behind any other answer is never passed on unread.
#[tokio::test]
async fn h5_answers_that_only_look_like_raw_streams_stay_http() {
    let get = "GET /containers/c/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    let failed = "HTTP/1.1 500 Oops\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    for (request, answer) in [(get, RAW), (PLAIN_EXEC, plain), (PLAIN_EXEC, failed)] {
        let (mut client, mut engine, served) = hijacked((request, answer)).await;
        client.send("POST /containers/create HTTP/1.1\r\n\r\n").await;
        engine.send("some output").await;
        engine.half_close().await;
        client.expect("some output").await;
        client.expect_end().await;
        engine.expect_end().await;
        drop(client);
        soon("task", served).await.unwrap();
    }
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (mut client, mut engine, _served) = hijacked((PLAIN_EXEC, chunked)).await;
    client.send(get).await;
    engine.expect(get).await;
}

/// Sends `count` bytes that are a function of `seed`, then half-closes; the hash of what was sent.
async fn pump(stream: impl tokio::io::AsyncWrite, seed: u64, count: usize) -> Vec<u8> {
    tokio::pin!(stream);
    let (mut hash, mut state, mut left) = (Sha256::new(), seed, count);
    let mut block = vec![0; 40_000];
    while left > 0 {
        for word in block.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&(state ^ state >> 33).to_le_bytes());
        }
        let size = block.len().min(left);
        hash.update(&block[..size]);
        stream.write_all(&block[..size]).await.unwrap();
        left -= size;
    }
    stream.shutdown().await.unwrap();
    hash.finalize().to_vec()
}

/// Reads to the end; how much it was, and its hash.
async fn drain(stream: impl tokio::io::AsyncRead) -> (usize, Vec<u8>) {
    tokio::pin!(stream);
    let (mut hash, mut count, mut block) = (Sha256::new(), 0, vec![0; 50_000]);
    loop {
        match stream.read(&mut block).await.unwrap() {
            0 => return (count, hash.finalize().to_vec()),
            n => {
                hash.update(&block[..n]);
                count += n;
            }
        }
    }
}

#[tokio::test]
async fn h7_large_streams_cross_both_ways_at_once_without_a_changed_byte() {
    const SIZE: usize = 64 << 20;
    for style in STYLES {
        let (client, engine, served) = hijacked(style).await;
        let (client_read, client_write) = tokio::io::split(client.stream);
        let (engine_read, engine_write) = tokio::io::split(engine.stream);
        let (up, down, got_up, got_down) = timeout(Duration::from_secs(120), async {
            tokio::join!(
                pump(client_write, 1, SIZE),
                pump(engine_write, 2, SIZE),
                drain(engine_read),
                drain(client_read)
            )
        })
        .await
        .unwrap();
        assert_eq!(got_up, (SIZE, up));
        assert_eq!(got_down, (SIZE, down));
        soon("task", served).await.unwrap();
    }
}

#[tokio::test]
async fn h7_large_bodies_cross_unchanged_with_either_framing() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let block: Vec<u8> = (0..100_000u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let chunk = [b"186a0\r\n".as_slice(), &block, b"\r\n"].concat();
    let load = "POST /images/load HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(load).await;
    let mut engine = machine.engine().await;
    engine.expect(load).await;
    for _ in 0..100 {
        tokio::join!(client.send(&chunk), engine.expect(&chunk));
    }
    client.send("0\r\n\r\n").await;
    engine.expect("0\r\n\r\n").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    engine.send(head).await;
    client.expect(head).await;
    for _ in 0..100 {
        tokio::join!(engine.send(&block), client.expect(&block));
    }
    client.send(ATTACH).await;
    engine.expect(ATTACH).await;
}

#[tokio::test]
async fn h7_an_empty_create_body_passes_as_it_is() {
    let mut machine = Machine::new();
    let (mut client, _served) = machine.client();
    let create = "POST /containers/create HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    client.send(create).await;
    let mut engine = machine.engine().await;
    engine.expect(create).await;
    engine.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    client.expect("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
}

/// How much `end` can send while nobody reads at the other side: the paused clock moves only when everything waits.
async fn sent_into_the_void(end: &mut End) -> usize {
    let mut sent = 0;
    while let Ok(count) = timeout(Duration::from_secs(1), end.stream.write(&[b'x'; 8192])).await {
        sent += count.unwrap();
        assert!(sent < 64 << 20, "no back-pressure");
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn h7_a_slow_reader_slows_its_writer_at_bounded_memory() {
    // A direction holds two "sockets" and one buffer.
    let bound = 2 * SOCKET + (64 << 10);
    for style in STYLES {
        let (mut client, mut engine, _served) = hijacked(style).await;
        assert!(sent_into_the_void(&mut client).await <= bound);
        assert!(sent_into_the_void(&mut engine).await <= bound);
        // One blocked direction does not block the other.
        let (mut client, mut engine, _served) = hijacked(style).await;
        let sent = sent_into_the_void(&mut engine).await;
        client.send("stdin").await;
        engine.expect("stdin").await;
        client.expect("x".repeat(sent)).await;
    }
    for request in ["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3fffffff\r\n", ATTACH] {
        let mut machine = Machine::new();
        let (mut client, _served) = machine.client();
        client.send(request).await;
        let mut engine = machine.engine().await;
        engine.expect(request).await;
        // An upload, and stdin or requests ahead of their turn.
        assert!(sent_into_the_void(&mut client).await <= bound);
        engine.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        assert!(sent_into_the_void(&mut engine).await <= bound);
    }
}

/// dockerd asks only whether there is an `Upgrade` field, not what stands in it.
#[tokio::test]
async fn h5_an_empty_upgrade_field_asks_for_an_upgrade() {
    let request = ATTACH.replace("Upgrade: tcp", "Upgrade:");
    let (mut client, mut engine, _served) = hijacked((&request, UPGRADED)).await;
    client.send("\0stdin").await;
    engine.expect("\0stdin").await;
}

/// The text comes from whoever feeds the client's stdin.
#[tokio::test]
async fn h5_stdin_ahead_of_a_refused_upgrade_is_not_read_as_requests() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(format!("{ATTACH}DELETE /containers/precious HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let mut engine = machine.engine().await;
    engine.expect(ATTACH).await;
    let conflict = "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}";
    engine.send(conflict).await;
    client.expect(conflict).await;
    client.expect_end().await;
    engine.expect_end().await;
    drop(client);
    soon("task", served).await.unwrap();
}
