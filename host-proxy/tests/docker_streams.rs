//! The Docker API proxy behind a hijack: bytes both ways, half-closes, breaks (catalogue H5–H7).
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use stand_in::{Machine, soon};

const ATTACH: &str = "POST /v1.45/containers/c/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: x\r\n\
    Content-Length: 0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
    Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// `printf hi | docker run -i IMAGE cat`.
#[tokio::test]
async fn h5_upgraded_stream_ends_by_itself() {
    let mut machine = Machine::new();
    let (mut client, served) = machine.client();
    client.send(ATTACH).await;
    let mut engine = machine.engine().await;
    engine.expect(ATTACH).await;
    engine.send(UPGRADED).await;
    client.expect(UPGRADED).await;
    client.send("hi").await;
    client.half_close().await;
    engine.expect("hi").await;
    engine.expect_end().await;
    engine.send("hi").await;
    drop(engine);
    client.expect("hi").await;
    client.expect_end().await;
    drop(client);
    soon("task", served).await.unwrap();
}
