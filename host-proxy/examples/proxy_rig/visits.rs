//! What one client of the load does on one connection, in the ways that real ones leave connections behind. Called by
//! `load`; the engine's side is `stand_in`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lighter::sys::endpoint::Stream;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::sleep;

use crate::load::Seen;
use crate::stand_in::bulk::Pattern;

/// Numbers that differ between clients and visits and are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    fn roll(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// `docker run -i … cat`: pieces and pauses go in, all of it comes back, then both directions end one after the other. Some
/// read late, so that the stream stands still in between.
pub async fn hijacked(stream: Stream, dice: &mut Dice, moved: &AtomicU64) -> io::Result<Seen> {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    let fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    write.write_all(format!("POST /stand-in/echo HTTP/1.1\r\n{fields}").as_bytes()).await?;
    expect(&head(&mut read).await?, "HTTP/1.1 101 ")?;
    let seed = dice.roll(u64::MAX);
    let pieces: Vec<usize> = (0..20).map(|_| dice.roll(1 << 17) as usize / (1 + dice.roll(50) as usize)).collect();
    let (pause, late) = (dice.roll(300), dice.roll(4) == 0);
    let total: usize = pieces.iter().sum();
    let send = async {
        let mut pattern = Pattern::new(seed);
        for piece in pieces {
            let mut block = vec![0; piece];
            pattern.fill(&mut block);
            write.write_all(&block).await?;
            sleep(Duration::from_millis(pause)).await;
        }
        write.shutdown().await
    };
    let receive = async {
        let mut seen = Compared::new(seed, total as u64, moved);
        let mut block = vec![0; 16 << 10];
        if late {
            sleep(Duration::from_secs(3)).await;
        }
        while let count @ 1.. = read.read(&mut block).await? {
            seen.take(&block[..count]);
        }
        Ok(seen.done())
    };
    tokio::try_join!(send, receive).map(|((), seen)| seen)
}

/// `docker logs`, `events`, `pull`: a long answer. Read to its end, read slowly, or left in the middle.
pub async fn streamed(mut stream: Stream, dice: &mut Dice, moved: &AtomicU64) -> io::Result<Seen> {
    let (seed, bytes) = (dice.roll(u64::MAX), dice.roll(1 << 20));
    let ask = format!("GET /v1.45/stand-in/stream/{seed}/{bytes} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut stream = BufReader::new(stream);
    expect(&head(&mut stream).await?, "HTTP/1.1 200 ")?;
    let manner = dice.roll(4);
    let pause = dice.roll(40);
    let enough = if manner == 0 { bytes / 2 } else { bytes };
    let mut seen = Compared::new(seed, bytes, moved);
    loop {
        let chunk = chunk(&mut stream).await?;
        if chunk.is_empty() {
            break;
        }
        seen.take(&chunk);
        if seen.bytes > enough {
            // Away without a word, as a killed `docker logs -f` is.
            return Ok(Seen { bytes: seen.bytes, differences: seen.differences });
        }
        sleep(Duration::from_millis(if manner == 1 { pause } else { pause / 8 })).await;
    }
    // The connection is kept: where the answer ended was understood by everybody.
    ping(&mut stream).await?;
    Ok(seen.done())
}

/// What the docker CLI does all day: a request or two, an upload, or half of one and away.
pub async fn short(mut stream: Stream, dice: &mut Dice) -> io::Result<Seen> {
    sleep(Duration::from_millis(200 + dice.roll(1000))).await;
    let mut bytes = 0;
    match dice.roll(6) {
        0 => stream.write_all(b"POST /images/load HTTP/1.1\r\nContent-Len").await?,
        1 => {
            stream.write_all(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n").await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            expect(&answer, "HTTP/1.1 400 ")?;
        }
        2 => {
            let mut block = vec![0; dice.roll(200_000) as usize];
            Pattern::new(dice.roll(u64::MAX)).fill(&mut block);
            let ask = format!("POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", block.len());
            stream.write_all(ask.as_bytes()).await?;
            stream.write_all(&block).await?;
            let mut stream = BufReader::new(stream);
            let answer = answer(&mut stream).await?;
            let hash: String = Sha256::digest(&block).iter().map(|byte| format!("{byte:02x}")).collect();
            bytes = block.len() as u64;
            if !answer.contains(&hash) {
                return Ok(Seen { bytes, differences: bytes.max(1) });
            }
            ping(&mut stream).await?;
        }
        times => {
            let mut stream = BufReader::new(stream);
            for _ in 0..times {
                stream.write_all(b"GET /v1.45/containers/json HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                expect(&answer(&mut stream).await?, "[]")?;
            }
        }
    }
    Ok(Seen { bytes, differences: 0 })
}

async fn ping(stream: &mut BufReader<Stream>) -> io::Result<()> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    expect(&answer(stream).await?, "OK")
}

/// The head up to its empty line.
async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::Error::other(format!("the answer broke off: {head:?}")));
        }
    }
    Ok(head)
}

/// The body of an answer with a Content-Length.
async fn answer(stream: &mut BufReader<Stream>) -> io::Result<String> {
    let head = head(stream).await?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.and_then(|length| length.parse().ok()).ok_or_else(|| io::Error::other(head.clone()))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    String::from_utf8(body).map_err(io::Error::other)
}

/// The next chunk; empty at the end of the body.
async fn chunk(stream: &mut BufReader<Stream>) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let size = usize::from_str_radix(line.trim_end(), 16).map_err(|_| io::Error::other(format!("chunk {line:?}")))?;
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await?;
    chunk.truncate(size);
    Ok(chunk)
}

fn expect(text: &str, start: &str) -> io::Result<()> {
    if text.starts_with(start) { Ok(()) } else { Err(io::Error::other(format!("{text:?} instead of {start:?}"))) }
}

/// Compares what comes with what should.
struct Compared<'a> {
    pattern: Pattern,
    /// Counts what moves, for whoever watches from outside.
    moved: &'a AtomicU64,
    bytes: u64,
    expected: u64,
    differences: u64,
}

impl Compared<'_> {
    fn new(seed: u64, expected: u64, moved: &AtomicU64) -> Compared<'_> {
        Compared { pattern: Pattern::new(seed), moved, bytes: 0, expected, differences: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.differences += self.pattern.differences(bytes);
    }

    /// At the end of the stream: what is missing or too much is different too.
    fn done(self) -> Seen {
        Seen { bytes: self.bytes, differences: self.differences + self.bytes.abs_diff(self.expected) }
    }
}
