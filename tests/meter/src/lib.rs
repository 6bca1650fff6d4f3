//! A client of the Docker API that only measures: requests on one kept connection, requests on a new connection each, and
//! bulk streams behind an upgrade. Blocking and small, because the same code runs on the host and, as a static
//! program, in a container beside dockerd. Called by `bench proxy` and by this crate's own program.

/// Long bodies of requests and answers.
pub mod bodies;
/// Datagrams that must come back.
pub mod datagrams;
/// Bulk streams of a process in a container.
pub mod exec;
/// Many connections at the same time.
pub mod fetch;
/// Work on a tree of files.
pub mod files;
/// A file as memory.
pub mod map;
/// A table of names and types.
pub mod names;
/// What Testcontainers leaves the removing to.
pub mod reaper;
/// Which ports are open.
pub mod scan;
/// Names of a folder and of links, exchanged.
pub mod swap;
/// What differs by operating system.
pub mod sys;
/// What inotify reports.
pub mod watch;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Who waits longer than this for one answer is stuck.
const STUCK: Duration = Duration::from_secs(120);
/// One read or write of a bulk stream, in bytes.
const BLOCK: usize = 64 << 10;

/// A connection that speaks as much HTTP as is needed to know where an answer ends.
pub struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Connects to the API at `socket`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(STUCK))?;
        stream.set_write_timeout(Some(STUCK))?;
        Ok(Self { stream, buffer: vec![0; BLOCK], filled: 0 })
    }

    /// One GET of a small answer with a Content-Length; its status.
    ///
    /// # Errors
    /// When the answer breaks off, does not come, or has no length.
    pub fn get(&mut self, path: &str) -> io::Result<u16> {
        self.stream.write_all(request("GET", path, "").as_bytes())?;
        let (head, status, length) = self.head()?;
        let length = length.ok_or_else(|| io::Error::other(format!("GET {path}: no Content-Length")))?;
        while self.filled < head + length {
            self.fill()?;
        }
        self.buffer.copy_within(head + length..self.filled, 0);
        self.filled -= head + length;
        Ok(status)
    }

    /// Asks for an upgrade and waits for the 101.
    ///
    /// # Errors
    /// When another answer comes.
    pub fn upgrade(&mut self, path: &str) -> io::Result<()> {
        self.upgrade_with(path, "")
    }

    /// The same with a body of JSON.
    ///
    /// # Errors
    /// When another answer comes.
    pub fn upgrade_with(&mut self, path: &str, body: &str) -> io::Result<()> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let fields = format!("Connection: Upgrade\r\nUpgrade: tcp\r\n{kind}Content-Length: {}\r\n", body.len());
        self.stream.write_all((request("POST", path, &fields) + body).as_bytes())?;
        let (head, status, _) = self.head()?;
        if status != 101 {
            return Err(io::Error::other(format!("POST {path}: {status} instead of 101")));
        }
        self.buffer.copy_within(head..self.filled, 0);
        self.filled -= head;
        Ok(())
    }

    /// Length of the next head, status, Content-Length.
    fn head(&mut self) -> io::Result<(usize, u16, Option<usize>)> {
        let end = loop {
            if let Some(at) = self.buffer[..self.filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]);
        let status = text.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {text}")))?;
        let field = text.lines().filter_map(|line| line.split_once(':'));
        let length = field.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.filter_map(|(_, value)| value.trim().parse().ok()).next();
        Ok((end, status, length))
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: lighter-meter\r\n{fields}\r\n")
}

fn expect_200(path: &str, status: u16) -> io::Result<()> {
    if status == 200 { Ok(()) } else { Err(io::Error::other(format!("GET {path}: {status}"))) }
}

/// Nanoseconds of each of `count` GETs on one connection, after one that is not counted.
///
/// # Errors
/// When one of them is not answered by a 200.
pub fn kept(socket: &Path, path: &str, count: usize) -> io::Result<Vec<u64>> {
    let mut connection = Connection::open(socket)?;
    expect_200(path, connection.get(path)?)?;
    timed(count, || expect_200(path, connection.get(path)?))
}

/// Nanoseconds of each of `count` GETs with a connection of its own, from the connect to the answer's last byte.
///
/// # Errors
/// When one of them is not answered by a 200.
pub fn fresh(socket: &Path, path: &str, count: usize) -> io::Result<Vec<u64>> {
    timed(count, || expect_200(path, Connection::open(socket)?.get(path)?))
}

/// Nanoseconds of each of `count` runs of `work`.
fn timed(count: usize, mut work: impl FnMut() -> io::Result<()>) -> io::Result<Vec<u64>> {
    (0..count)
        .map(|_| {
            let started = Instant::now();
            work()?;
            Ok(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
        })
        .collect()
}

/// Bytes per second of a stream that the engine sends behind an upgrade of `path`, `bytes` long and then ended.
///
/// # Errors
/// When it breaks, or is longer or shorter.
pub fn down(socket: &Path, path: &str, bytes: u64) -> io::Result<f64> {
    let mut connection = Connection::open(socket)?;
    let started = Instant::now();
    connection.upgrade(path)?;
    let mut got = connection.filled as u64;
    let mut block = vec![0; BLOCK];
    loop {
        match connection.stream.read(&mut block)? {
            0 => break,
            count => got += count as u64,
        }
    }
    if got != bytes {
        return Err(io::Error::other(format!("{got} bytes came instead of {bytes}")));
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

/// Bytes per second of a stream that is sent behind an upgrade of `path` and half-closed; the engine answers with the
/// number of bytes that it saw, which must be all.
///
/// # Errors
/// When it breaks, or the engine counts otherwise.
pub fn up(socket: &Path, path: &str, bytes: u64) -> io::Result<f64> {
    let mut connection = Connection::open(socket)?;
    let started = Instant::now();
    connection.upgrade(path)?;
    let block = vec![0; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let size = left.min(BLOCK as u64);
        connection.stream.write_all(&block[..size as usize])?;
        left -= size;
    }
    connection.stream.shutdown(Shutdown::Write)?;
    let mut said = connection.buffer[..connection.filled].to_vec();
    connection.stream.read_to_end(&mut said)?;
    if said != bytes.to_string().as_bytes() {
        return Err(io::Error::other(format!("the engine saw {} bytes of {bytes}", said.escape_ascii())));
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

/// The value below which `percent` of the samples lie.
#[must_use]
pub fn percentile(samples: &[u64], percent: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let samples: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((percentile(&samples, 50), percentile(&samples, 99), percentile(&samples, 100)), (51, 100, 100));
        assert_eq!(percentile(&[], 50), 0);
    }

    /// A measurement of something else than a right answer would be a number without meaning.
    #[test]
    fn wrong_answers_are_errors_and_not_figures() {
        let dir = std::env::temp_dir().join(format!("lighter-meter-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a scratch folder");
        let socket = dir.join("s");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let answers =
            ["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nO"];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut byte = [0; 512];
                let _request = stream.read(&mut byte).expect("a request");
                stream.write_all(answer.as_bytes()).expect("the client reads");
            }
        });
        assert!(fresh(&socket, "/", 1).is_err(), "a 500 was taken for an answer");
        assert!(fresh(&socket, "/", 1).is_err(), "half an answer was taken for one");
        server.join().expect("the server only answers");
        std::fs::remove_dir_all(&dir).expect("the folder is ours");
    }
}
