//! Long streams of which every byte is known, for load and measurements: the engine's side of `/stand-in/…`, and the
//! [`Pattern`] by which both ends check what came. `engine` calls [`serve`].
//!
//! ```text
//! POST /stand-in/echo            upgrade; what comes goes back, each direction ends by itself
//! POST /stand-in/sink            upgrade; reads to the end, then says how many bytes that were
//! POST /stand-in/source/BYTES    upgrade; so many zeros
//! GET  /stand-in/stream/SEED/BYTES    chunked; so much of the pattern, in chunks of odd sizes
//! GET  /stand-in/length/BYTES    with a Content-Length; so many zeros
//! GET  /stand-in/chunked/BYTES    the same in chunks as large as dockerd makes them
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const UPGRADED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
/// One read or write, in bytes.
const BLOCK: usize = 64 << 10;
/// Go copies to a chunked body in pieces of this many bytes.
const CHUNK: usize = 32 << 10;

/// What follows an answer of this module.
pub enum Then {
    /// The connection was used up.
    End,
    /// The next request.
    Next,
}

/// Serves the request `path`; `None` if it is not one of this module's.
pub async fn serve(
    path: &str,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Option<io::Result<Then>> {
    let mut words = path.strip_prefix("/stand-in/")?.split('/');
    let word = words.next()?;
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    Some(match word {
        "echo" => echo(&mut from, &mut to).await.map(|()| Then::End),
        "sink" => sink(&mut from, &mut to).await.map(|()| Then::End),
        "source" => source(number()?, &mut to).await.map(|()| Then::End),
        "length" => length(number()?, &mut to).await.map(|()| Then::Next),
        "chunked" => chunked(number()?, &mut to).await.map(|()| Then::Next),
        "stream" => stream(number()?, number()?, &mut to).await.map(|()| Then::Next),
        _ => return None,
    })
}

async fn echo(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(UPGRADED).await?;
    let mut block = vec![0; BLOCK];
    while let count @ 1.. = from.read(&mut block).await? {
        to.write_all(&block[..count]).await?;
    }
    to.shutdown().await
}

async fn sink(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(UPGRADED).await?;
    let (mut block, mut total) = (vec![0; BLOCK], 0u64);
    while let count @ 1.. = from.read(&mut block).await? {
        total += count as u64;
    }
    to.write_all(total.to_string().as_bytes()).await?;
    to.shutdown().await
}

async fn source(bytes: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(UPGRADED).await?;
    zeros(bytes, to).await?;
    to.shutdown().await
}

async fn zeros(bytes: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (block, mut left) = (vec![0; BLOCK], bytes);
    while left > 0 {
        let size = left.min(BLOCK as u64);
        to.write_all(&block[..size as usize]).await?;
        left -= size;
    }
    Ok(())
}

async fn length(bytes: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes()).await?;
    zeros(bytes, to).await
}

async fn chunked(bytes: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(CHUNKED).await?;
    let mut left = bytes as usize;
    while left > 0 {
        let count = CHUNK.min(left);
        let mut chunk = format!("{count:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + count, 0);
        chunk.extend_from_slice(b"\r\n");
        to.write_all(&chunk).await?;
        left -= count;
    }
    to.write_all(b"0\r\n\r\n").await
}

async fn stream(seed: u64, bytes: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(CHUNKED).await?;
    let (mut pattern, mut left, mut size) = (Pattern::new(seed), bytes as usize, 1);
    while left > 0 {
        size = (size * 7 + 3) % 5000 + 1;
        let count = size.min(left);
        let mut chunk = format!("{count:x}\r\n").into_bytes();
        let at = chunk.len();
        chunk.resize(at + count, 0);
        pattern.fill(&mut chunk[at..]);
        chunk.extend_from_slice(b"\r\n");
        to.write_all(&chunk).await?;
        left -= count;
    }
    to.write_all(b"0\r\n\r\n").await
}

/// A sequence of bytes that depends on a seed and does not repeat.
pub struct Pattern {
    seed: u64,
    at: u64,
}

impl Pattern {
    pub fn new(seed: u64) -> Pattern {
        Pattern { seed, at: 0 }
    }

    /// The next bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let skip = (self.at % 8) as usize;
            let word = self.word(self.at / 8).to_le_bytes();
            let count = (8 - skip).min(out.len() - done);
            out[done..done + count].copy_from_slice(&word[skip..skip + count]);
            done += count;
            self.at += count as u64;
        }
    }

    /// How many of these bytes are not the next ones.
    pub fn differences(&mut self, got: &[u8]) -> u64 {
        let mut expected = vec![0; got.len()];
        self.fill(&mut expected);
        expected.iter().zip(got).filter(|(expected, got)| expected != got).count() as u64
    }

    fn word(&self, index: u64) -> u64 {
        let mixed = (index ^ self.seed.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ self.seed
    }
}
