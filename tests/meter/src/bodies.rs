//! Long bodies of ordinary requests and answers, as `docker load`, `cp` and `save` have them: they end where their length or
//! their last chunk says, and the connection goes on behind them. Called by `cargo xtask test load` and `soak proxy`.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{BLOCK, Connection, request};

/// What every body consists of; compared as a whole, because a look at each byte would cost an unoptimised build more than the way.
static ZEROS: [u8; BLOCK] = [0; BLOCK];
/// Go copies to a chunked body in pieces of this many bytes.
const CHUNK: usize = 32 << 10;

/// How a body says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a Content-Length.
    Length,
    /// By its last chunk.
    Chunked,
}

/// GETs `path`, whose answer must be `bytes` zeros framed in this way and leave a connection that serves another request.
///
/// # Errors
/// When anything else comes, or nothing.
pub fn answer(socket: &Path, path: &str, framing: Framing, bytes: u64) -> io::Result<()> {
    let stream = Connection::open(socket)?.stream;
    let mut from = BufReader::with_capacity(BLOCK, &stream);
    (&stream).write_all(request("GET", path, "").as_bytes())?;
    let length = head(&mut from)?;
    let got = match (framing, length) {
        (Framing::Length, Some(length)) => zeros(&mut from, length)?,
        (Framing::Chunked, None) => chunks(&mut from)?,
        _ => return Err(io::Error::other(format!("the answer is not framed as {framing:?}"))),
    };
    if got != bytes {
        return Err(io::Error::other(format!("{got} bytes came instead of {bytes}")));
    }
    goes_on(&stream, &mut from)
}

/// POSTs `bytes` zeros to `path`, framed in this way; the answer must hold their SHA-256, and leave a connection that
/// serves another request.
///
/// # Errors
/// When the engine saw other bytes, or the connection breaks.
pub fn upload(socket: &Path, path: &str, framing: Framing, bytes: u64) -> io::Result<()> {
    let stream = Connection::open(socket)?.stream;
    let mut to = &stream;
    let field = match framing {
        Framing::Length => format!("Content-Length: {bytes}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
    };
    to.write_all(request("POST", path, &field).as_bytes())?;
    let (mut hash, mut left, mut block) = (Sha256::new(), bytes, Vec::new());
    while left > 0 {
        let count = left.min(CHUNK as u64) as usize;
        block.clear();
        if framing == Framing::Chunked {
            write!(block, "{count:x}\r\n")?;
        }
        let at = block.len();
        block.resize(at + count, 0);
        hash.update(&block[at..]);
        if framing == Framing::Chunked {
            block.extend_from_slice(b"\r\n");
        }
        to.write_all(&block)?;
        left -= count as u64;
    }
    if framing == Framing::Chunked {
        to.write_all(b"0\r\n\r\n")?;
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut from = BufReader::new(&stream);
    let said = small_body(&mut from)?;
    if !said.contains(&hash) {
        return Err(io::Error::other(format!("the engine saw {said:?} instead of {bytes} bytes of hash {hash}")));
    }
    goes_on(&stream, &mut from)
}

/// The connection serves another request: everybody agrees where the one before ended.
fn goes_on(mut stream: &UnixStream, from: &mut impl BufRead) -> io::Result<()> {
    stream.write_all(request("GET", "/_ping", "").as_bytes())?;
    match small_body(from)?.as_str() {
        "OK" => Ok(()),
        other => Err(io::Error::other(format!("the next answer was {other:?}"))),
    }
}

/// The head of a 200; its Content-Length.
fn head(from: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut length = None;
    let mut first = true;
    loop {
        let line = line(from)?;
        if line.is_empty() {
            return Ok(length);
        }
        if first && !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("{line:?} instead of a 200")));
        }
        first = false;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse().map_err(io::Error::other)?);
        }
    }
}

fn small_body(from: &mut impl BufRead) -> io::Result<String> {
    let length = head(from)?.ok_or_else(|| io::Error::other("an answer without a Content-Length"))?;
    let mut body = vec![0; usize::try_from(length.min(BLOCK as u64)).unwrap_or(BLOCK)];
    from.read_exact(&mut body)?;
    String::from_utf8(body).map_err(io::Error::other)
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads so many zeros; their number.
fn zeros(from: &mut impl BufRead, bytes: u64) -> io::Result<u64> {
    let mut left = bytes;
    while left > 0 {
        let come = from.fill_buf()?;
        let count = come.len().min(BLOCK).min(usize::try_from(left).unwrap_or(BLOCK));
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if come[..count] != ZEROS[..count] {
            return Err(io::Error::other(format!("a byte that was never sent, {left} before the end")));
        }
        from.consume(count);
        left -= count as u64;
    }
    Ok(bytes)
}

/// Reads chunks of zeros to the last one; how many zeros they were.
fn chunks(from: &mut impl BufRead) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let size = line(from)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| io::Error::other(format!("chunk {size:?}")))?;
        total += zeros(from, size)?;
        if !line(from)?.is_empty() {
            return Err(io::Error::other("a chunk without an end"));
        }
        if size == 0 {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one connection by `text` and the next request on it by a ping's answer; what `ask` says of it.
    fn against(text: &'static [u8], ask: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut from = BufReader::new(&stream);
            for answer in [text, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"] {
                while line(&mut from).is_ok_and(|line| !line.is_empty()) {}
                // A client that is not content leaves.
                let _ = (&stream).write_all(answer);
            }
        });
        let said = ask(&socket);
        server.join().expect("the server only answers");
        said
    }

    #[test]
    fn h7_a_body_that_is_not_what_was_sent_is_an_error_and_no_figure() {
        let length = |text| against(text, |socket| answer(socket, "/", Framing::Length, 2));
        length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\0\0").unwrap();
        assert!(length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\0x").is_err(), "another byte");
        assert!(length(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\0").is_err(), "too short");
        assert!(length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\0\0\r\n0\r\n\r\n").is_err());
        assert!(length(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n\0\0").is_err());
        let chunked = |text| against(text, |socket| answer(socket, "/", Framing::Chunked, 2));
        chunked(b"HTTP/1.1 200 OK\r\n\r\n1\r\n\0\r\n1\r\n\0\r\n0\r\n\r\n").unwrap();
        assert!(chunked(b"HTTP/1.1 200 OK\r\n\r\n1\r\n\0\r\n0\r\n\r\n").is_err(), "too short");
        assert!(chunked(b"HTTP/1.1 200 OK\r\n\r\n2\r\n\0\0x\r\n0\r\n\r\n").is_err(), "a chunk too long");
        let load = |text| against(text, |socket| upload(socket, "/", Framing::Length, 0));
        let empty = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        load(empty).unwrap();
        assert!(load(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").is_err(), "another hash");
    }
}
