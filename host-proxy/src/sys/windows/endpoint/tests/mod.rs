//! Both ends of a pipe in one process: what docker clients do with it, and what they do wrong.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::windows::named_pipe::NamedPipeClient;
use tokio::time::timeout;

use super::*;

mod listeners;
mod proxied;
mod streams;

const SOON: Duration = Duration::from_secs(20);

fn name() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!(r"\\.\pipe\lighter_test_{}_{number}", std::process::id()))
}

/// Our own client.
async fn pair() -> (Stream, Stream) {
    let path = name();
    let mut listener = Listener::bind(&path).unwrap();
    let (server, client) = tokio::join!(listener.accept(), connect(&path));
    (server.unwrap(), client.unwrap())
}

/// A client as others make one: it reads bytes.
async fn stranger() -> (Stream, NamedPipeClient) {
    let path = name();
    let mut listener = Listener::bind(&path).unwrap();
    let client = ClientOptions::new().open(&path).unwrap();
    (listener.accept().await.unwrap(), client)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("takes too long")
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.unwrap();
    all
}
