//! What connections carry, and how they end.

use std::os::windows::io::AsHandle;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::super::drain::Drain;
use super::*;

#[tokio::test]
async fn either_side_can_end_its_sending_and_still_receive() {
    let (mut server, mut client) = pair().await;
    client.write_all(b"question").await.unwrap();
    let (ended, question) = tokio::join!(soon(client.shutdown()), rest(&mut server));
    ended.unwrap();
    assert_eq!(question, b"question");
    server.write_all(b"answer").await.unwrap();
    let (ended, answer) = tokio::join!(soon(server.shutdown()), rest(&mut client));
    ended.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test]
async fn a_server_that_has_ended_still_hears_a_client_that_talks() {
    let (mut server, mut client) = pair().await;
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    // Longer than the lingering in all.
    let reader = tokio::spawn(async move { rest(&mut server).await });
    for word in ["a", "b", "c", "d", "e"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.write_all(word.as_bytes()).await.unwrap();
    }
    client.shutdown().await.unwrap();
    assert_eq!(soon(reader).await.unwrap(), b"abcde");
}

#[tokio::test]
async fn three_megabytes_come_back_as_they_went() {
    let (server, client) = pair().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let echo = async move {
        let (mut from, mut to) = tokio::io::split(server);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (mut from, mut to) = tokio::io::split(client);
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let ((), (), got) = timeout(4 * SOON, async { tokio::join!(echo, send, rest(&mut from)) }).await.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn a_message_longer_than_the_buffer_is_read_in_parts() {
    let (mut server, mut client) = stranger().await;
    let message = vec![7; 50_000];
    client.write_all(&message).await.unwrap();
    let mut got = Vec::new();
    while got.len() < message.len() {
        let mut buffer = [0; 999];
        let count = soon(server.read(&mut buffer)).await.unwrap();
        assert_ne!(count, 0, "the end of a part is not an end");
        got.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(got, message);
}

#[tokio::test]
async fn nothing_is_read_behind_the_end_and_no_empty_write_is_one() {
    let (mut server, mut client) = pair().await;
    assert_eq!(client.write(b"").await.unwrap(), 0);
    client.write_all(b"x").await.unwrap();
    let mut nothing = [];
    assert_eq!(soon(server.read(&mut nothing)).await.unwrap(), 0);
    assert_eq!(soon(server.read_u8()).await.unwrap(), b'x');
    client.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    assert!(client.write(b"y").await.is_err());

    let (mut server, mut client) = stranger().await;
    let end = std::future::poll_fn(|cx| std::pin::Pin::new(&mut client).poll_write(cx, b""));
    end.await.unwrap();
    client.write_all(b"more").await.unwrap();
    for _ in 0..3 {
        assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_client_that_reads_bytes_sees_the_end_behind_them() {
    let (mut server, mut client) = stranger().await;
    server.write_all(&[1; 10_000]).await.unwrap();
    let end = tokio::spawn(async move {
        server.shutdown().await.unwrap();
        server
    });
    let mut got = 0;
    loop {
        let mut buffer = [0; 4096];
        tokio::time::sleep(Duration::from_millis(20)).await;
        match soon(client.read(&mut buffer)).await.unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert_eq!(got, 10_000);
    // It may still send.
    let mut server = end.await.unwrap();
    client.write_all(b"late").await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 8])).await.unwrap(), 4);
}

#[tokio::test]
async fn a_client_that_takes_no_hint_sees_everything_and_then_a_broken_pipe() {
    let (mut server, mut client) = stranger().await;
    server.write_all(b"last words").await.unwrap();
    let began = Instant::now();
    let (ended, word) = tokio::join!(server.shutdown(), async {
        let mut word = [0; 10];
        client.read_exact(&mut word).await.unwrap();
        word
    });
    ended.unwrap();
    assert_eq!(&word, b"last words");
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0, "which it ignores");
    assert_eq!(rest(&mut server).await, b"");
    assert!(began.elapsed() >= Duration::from_millis(900));
    drop(server);
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    assert!(client.write(b"x").await.is_err());
}

#[tokio::test]
async fn the_lingering_wakes_a_reader_that_waits_already() {
    let (server, _client) = stranger().await;
    let (mut from, mut to) = tokio::io::split(server);
    let reader = tokio::spawn(async move { rest(&mut from).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    to.shutdown().await.unwrap();
    assert_eq!(soon(reader).await.unwrap(), b"");
}

#[tokio::test]
async fn a_client_that_dies_ends_our_wait_for_it() {
    let (mut server, client) = stranger().await;
    server.write_all(&[0; 5000]).await.unwrap();
    let mut end = tokio::spawn(async move { server.shutdown().await });
    assert!(timeout(Duration::from_millis(300), &mut end).await.is_err(), "it has not read anything yet");
    drop(client);
    // Whether the empty message still found a pipe is of no interest.
    let _ = soon(end).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_a_thread_for_a_while_and_loses_nothing() {
    let (mut server, mut client) = stranger().await;
    // More than what the runtime reads ahead.
    server.write_all(&[5; 50_000]).await.unwrap();
    let began = Instant::now();
    let Pipe::Server(pipe) = server.pipe() else { panic!("not the server's end") };
    let mut drain = Drain::within(&pipe.as_handle(), Duration::from_millis(300)).unwrap();
    soon(std::future::poll_fn(|cx| drain.poll(cx))).await;
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert!(timeout(Duration::from_millis(50), server.read(&mut [0; 1])).await.is_err(), "the pipe works on");
    drop(server);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rest(&mut client).await, [5; 50_000]);
}
