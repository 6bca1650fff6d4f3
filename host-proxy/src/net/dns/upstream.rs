//! Questions passed on to the host's name servers, byte for byte but for the identifier, over the transport that they came by.
//! Servers are asked in order, each for a while, twice over, as a resolver on the host would. Called by `mod`.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::message::{self, Query};
use crate::net::{reach, udp};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the list is gone through.
const ROUNDS: usize = 2;

/// Asks over UDP; `None` if no server answers.
pub async fn ask(servers: &[SocketAddr], query: &Query<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    for server in std::iter::repeat_n(servers, ROUNDS).flatten() {
        match one(*server, query, bytes).await {
            Ok(answer) => return Some(answer),
            Err(error) => tracing::debug!(%server, %error, "a name server did not answer"),
        }
    }
    None
}

/// Asks over TCP; `None` if no server answers.
pub async fn ask_stream(servers: &[SocketAddr], query: &Query<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    for server in std::iter::repeat_n(servers, ROUNDS).flatten() {
        match timeout(PATIENCE, one_stream(*server, query, bytes)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a name server did not answer over TCP"),
            Err(_) => tracing::debug!(%server, "a name server did not answer over TCP in time"),
        }
    }
    None
}

/// A socket of its own for every question, so that its port cannot be guessed; it hears that one server only.
async fn one(server: SocketAddr, query: &Query<'_>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(reach::any(server.ip())).await?;
    socket.connect(server).await?;
    let id = fresh_id(bytes);
    socket.send(&message::with_id(bytes, id)).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = timeout_at(deadline, udp::receive(&socket)).await??;
        // What does not fit the question is from somebody who guesses.
        if query.is_answered_by(&answer, id) {
            return Ok(message::with_id(&answer, message::id(bytes).unwrap_or_default()));
        }
    }
}

async fn one_stream(server: SocketAddr, query: &Query<'_>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let id = fresh_id(bytes);
    write(&mut stream, &message::with_id(bytes, id)).await?;
    let answer = read(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !query.is_answered_by(&answer, id) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"));
    }
    Ok(message::with_id(&answer, message::id(bytes).unwrap_or_default()))
}

/// Reads one message of a stream (RFC 1035 §4.2.2); `None` at its end.
pub async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes one message to a stream.
pub async fn write(stream: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    stream.flush().await
}

fn fresh_id(bytes: &[u8]) -> u16 {
    let random = getrandom::u32().map(|random| random as u16).ok();
    // The asker's own is a good one too.
    random.or_else(|| message::id(bytes)).unwrap_or_default()
}
