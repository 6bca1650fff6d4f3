//! Docker clients at the proxy, over pipes: an attached stdin that ends, and a client that does not understand that its output has.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::windows::named_pipe::NamedPipeClient;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::docker::serve_connection;
use crate::guest::{BoxFuture, BoxedStream, GuestDialer};

const ATTACH: &[u8] = b"POST /containers/x/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
    Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
const UPGRADED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// A guest with one engine that takes one call.
struct Guest(Mutex<Option<DuplexStream>>);

impl GuestDialer for Guest {
    fn dial(&self, _port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        let engine = self.0.lock().unwrap().take();
        Box::pin(async { Ok(Box::new(engine.ok_or(io::ErrorKind::ConnectionRefused)?) as BoxedStream) })
    }
}

/// The proxy between a client's pipe and an engine.
fn proxy(client: Stream) -> (DuplexStream, JoinHandle<()>) {
    let (engine, guest) = tokio::io::duplex(64 << 10);
    (engine, tokio::spawn(serve_connection(client, Arc::new(Guest(Mutex::new(Some(guest)))))))
}

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Attached, with its head on either side.
async fn attached<C: AsyncReadExt + AsyncWriteExt + Unpin>(
    server: Stream,
    client: &mut C,
) -> (DuplexStream, JoinHandle<()>) {
    let (mut engine, task) = proxy(server);
    client.write_all(ATTACH).await.unwrap();
    assert!(head(&mut engine).await.starts_with("POST /containers/x/attach"));
    engine.write_all(UPGRADED).await.unwrap();
    assert!(head(client).await.starts_with("HTTP/1.1 101"));
    (engine, task)
}

#[tokio::test]
async fn an_attached_stdin_ends_and_what_is_made_of_it_comes_back() {
    let (server, mut client) = pair().await;
    let (mut engine, task) = attached(server, &mut client).await;
    let input: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let work = async {
        let got = rest(&mut engine).await;
        engine.write_all(&got).await.unwrap();
        engine.shutdown().await.unwrap();
    };
    let (mut from, mut to) = tokio::io::split(client);
    let send = async {
        to.write_all(&input).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let ((), (), got) = soon(async { tokio::join!(work, send, rest(&mut from)) }).await;
    assert!(got == input);
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_client_that_waits_for_the_end_of_the_pipe_gets_it_after_the_output() {
    let (server, mut client): (Stream, NamedPipeClient) = stranger().await;
    let (mut engine, task) = attached(server, &mut client).await;
    engine.write_all(b"bye").await.unwrap();
    drop(engine);
    let mut word = [0; 3];
    soon(client.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"bye");
    assert_eq!(soon(client.read(&mut word)).await.unwrap(), 0, "which it ignores");
    soon(task).await.unwrap();
    assert_eq!(soon(client.read(&mut word)).await.unwrap(), 0);
    assert!(client.write(b"x").await.is_err());
}

#[tokio::test]
async fn an_answer_larger_than_a_pipe_is_whole_for_a_client_that_is_slow() {
    let (server, mut client) = stranger().await;
    let (mut engine, task) = proxy(server);
    client.write_all(b"GET /images/x/get HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = async {
        head(&mut engine).await;
        engine.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        engine.write_all(&vec![3; 1_000_000]).await.unwrap();
        drop(engine);
    };
    let read = async {
        head(&mut client).await;
        assert!(timeout(Duration::from_millis(300), std::future::pending::<()>()).await.is_err());
        rest(&mut client).await
    };
    let ((), body) = soon(async { tokio::join!(answer, read) }).await;
    assert!(body == vec![3; 1_000_000]);
    soon(task).await.unwrap();
}
