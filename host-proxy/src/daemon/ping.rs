//! The last question before a machine counts as running: does dockerd answer `GET /_ping` through the guest's relay? Called
//! by `lifecycle`.

use std::io;
use std::sync::Arc;

use lighter_protocol::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::machine::Machine;

/// Longest answer that is looked at, in bytes.
const LONGEST: u64 = 8 * 1024;

/// Why the engine does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// The guest's relay.
    #[error("Cannot reach dockerd in the guest")]
    Io(#[from] io::Error),
    /// It answered something else.
    #[error("dockerd answered {0:?} to a ping")]
    Answer(String),
}

/// Asks once.
pub async fn ping(machine: &Arc<dyn Machine>) -> Result<(), PingError> {
    let mut stream = machine.dial(ports::DOCKER).await?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: lighter\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    let first = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
    if first.starts_with(b"HTTP/1.1 200") || first.starts_with(b"HTTP/1.0 200") {
        return Ok(());
    }
    Err(PingError::Answer(String::from_utf8_lossy(first).chars().filter(|c| !c.is_control()).take(100).collect()))
}
