//! The Docker API proxy under many connections on real sockets at both sides: every one is served, and nothing is
//! left of them. One test in one process, because it counts that process's descriptors.
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;
mod sys;

use std::{io, sync::Arc};

use lighter::{
    docker::serve_connection,
    guest::{BoxFuture, BoxedStream, GuestDialer},
};
use stand_in::{engine::Engine, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

/// The engine's real socket instead of a vsock port.
struct SocketDialer(String);

impl GuestDialer for SocketDialer {
    fn dial(&self, _port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move { Ok(Box::new(sys::connect(&self.0).await?) as BoxedStream) })
    }
}

/// What one client does, by its number; each leaves its connection in another state.
async fn visit(address: &str, number: usize) {
    let mut stream = sys::connect(address).await.unwrap();
    let mut buffer = vec![0; 4096];
    match number % 5 {
        // Two requests on one connection, then away.
        0 => {
            for _ in 0..2 {
                stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                let mut got = Vec::new();
                while !got.ends_with(b"\r\n\r\nOK") {
                    let count = stream.read(&mut buffer).await.unwrap();
                    assert!(count > 0, "{}", got.escape_ascii());
                    got.extend_from_slice(&buffer[..count]);
                }
            }
        }
        // Attach, half-close, read to the end.
        1 => {
            let attach = b"POST /containers/c/attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhi";
            stream.write_all(attach).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert!(got.starts_with(b"HTTP/1.1 101 ") && got.ends_with(b"\x01\0\0\0\0\0\0\x02hi"));
        }
        // A stream that would never end, left in the middle.
        2 => {
            stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..count].starts_with(b"HTTP/1.1 200 "));
        }
        // Half a head, then away.
        3 => stream.write_all(b"GET /half").await.unwrap(),
        // Nonsense, answered and closed.
        _ => {
            stream.write_all(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert!(got.starts_with(b"HTTP/1.1 400 "));
        }
    }
}

#[tokio::test]
async fn h6_a_thousand_connections_leave_no_task_and_no_descriptor() {
    let listener = sys::Listener::new().await;
    let address = listener.address();
    let engine_socket = sys::Listener::new().await;
    let dialer: Arc<dyn GuestDialer> = Arc::new(SocketDialer(engine_socket.address()));
    let (engine, _events) = Engine::new();
    let mut engine_tasks = JoinSet::new();
    let engines = tokio::spawn(async move {
        loop {
            tokio::select! {
                stream = engine_socket.accept() => { engine_tasks.spawn(engine.clone().serve(stream)); }
                Some(ended) = engine_tasks.join_next() => ended.unwrap(),
            }
        }
    });
    let proxies = {
        let dialer = dialer.clone();
        move |stream| serve_connection(stream, dialer.clone())
    };
    let before = sys::open_descriptors();

    let mut tasks = JoinSet::new();
    for number in 0..1000 {
        let visitor = tokio::spawn({
            let address = address.clone();
            async move { visit(&address, number).await }
        });
        tasks.spawn(proxies(listener.accept().await));
        soon("sequential visit", visitor).await.unwrap();
    }
    for number in 0..200 {
        let address = address.clone();
        tasks.spawn(async move { visit(&address, number).await });
    }
    for _ in 0..200 {
        tasks.spawn(proxies(soon("concurrent visit", listener.accept()).await));
    }
    while let Some(ended) = soon("a connection's end", tasks.join_next()).await {
        ended.unwrap();
    }
    // The engine's ends close by themselves behind the proxy's; each turn lets them run.
    soon("the engine's connections", async {
        while sys::open_descriptors() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(sys::open_descriptors(), before);
    engines.abort();
}
