//! Requests as the stand-in engine reads them: the head as text, the body as it comes and never as a whole, because one of
//! `docker load` may have ten gigabytes. Called by `engine`.

use std::io;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

/// One read of a body, in bytes.
const BLOCK: u64 = 64 << 10;

/// A request's head.
pub struct Request {
    pub method: String,
    pub path: String,
    /// The client wants no other answer on this connection.
    pub last: bool,
    framing: Framing,
}

enum Framing {
    Length(u64),
    Chunked,
}

/// What a body was.
#[derive(Default)]
pub struct Body {
    pub bytes: u64,
    hash: Sha256,
}

impl Body {
    /// Its SHA-256 in hex.
    pub fn hash(&self) -> String {
        self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads the next `bytes` of it.
    async fn read(&mut self, from: &mut (impl AsyncBufReadExt + Unpin), bytes: u64) -> io::Result<()> {
        let (mut left, mut block) = (bytes, vec![0; bytes.min(BLOCK) as usize]);
        while left > 0 {
            let part = &mut block[..left.min(BLOCK) as usize];
            from.read_exact(part).await?;
            self.hash.update(&part);
            left -= part.len() as u64;
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Request {
    /// The next head; `None` at the end.
    pub async fn read(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Request>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let mut words = lines[0].split(' ').map(str::to_owned);
        let field = |name: &str| {
            let of_name = |line: &&String| line.to_ascii_lowercase().starts_with(name);
            lines.iter().find(of_name).map(|line| line[name.len()..].trim().to_owned())
        };
        let framing = match (field("transfer-encoding:"), field("content-length:")) {
            (Some(_), _) => Framing::Chunked,
            (None, length) => Framing::Length(length.map_or(Ok(0), |length| length.parse()).map_err(io::Error::other)?),
        };
        let last = field("connection:").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Some(Request { method: words.next().unwrap(), path: words.next().unwrap(), last, framing }))
    }

    /// Its body, to the end.
    pub async fn body(&self, from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Body> {
        let mut body = Body::default();
        match self.framing {
            Framing::Length(length) => body.read(from, length).await?,
            Framing::Chunked => loop {
                let mut size = String::new();
                from.read_line(&mut size).await?;
                let size = u64::from_str_radix(size.trim_end(), 16).map_err(io::Error::other)?;
                body.read(from, size).await?;
                from.read_exact(&mut [0; 2]).await?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(body)
    }
}
