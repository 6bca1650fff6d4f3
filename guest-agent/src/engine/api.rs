//! Small requests to dockerd's API over its socket, one connection each (HTTP/1.0, so that no answer is chunked). Called by
//! `dockerd` for readiness and by `demo`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Longest answer that is read.
const LIMIT: usize = 1 << 20;

/// A request.
pub struct Request<'a> {
    method: &'static str,
    path: &'a str,
    body: Option<File>,
}

impl<'a> Request<'a> {
    /// `GET path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: None }
    }

    /// `POST path` with a tar archive.
    pub fn post_tar(path: &'a str, body: File) -> Self {
        Self { method: "POST", path, body: Some(body) }
    }

    fn head(&self) -> io::Result<String> {
        let Self { method, path, body } = self;
        let length = match body {
            Some(body) => {
                format!("Content-Type: application/x-tar\r\nContent-Length: {}\r\n", body.metadata()?.len())
            }
            None => String::new(),
        };
        Ok(format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n{length}\r\n"))
    }
}

/// An answer with status 200.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Parses what came until the end of the connection.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("dockerd's answer {what}"));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| invalid("has no end"))?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        if !head.starts_with("HTTP/1.") || status != "200" {
            return Err(invalid(&format!("is `{}`", head.lines().next().unwrap_or_default())));
        }
        Ok(Self { body: bytes[end + 4..].to_vec(), head })
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Sends a request on a new connection and takes the answer. `wait` waits until the socket is ready and owns the deadline.
pub fn request(
    socket: &UnixStream,
    request: Request<'_>,
    wait: impl Fn(&UnixStream, PollFlags) -> io::Result<()>,
) -> io::Result<Answer> {
    send_all(socket, request.head()?.as_bytes(), &wait)?;
    if let Some(mut body) = request.body {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match body.read(&mut chunk)? {
                0 => break,
                count => send_all(socket, &chunk[..count], &wait)?,
            }
        }
    }
    let mut answer = Vec::new();
    loop {
        wait(socket, PollFlags::IN)?;
        answer.reserve(16 * 1024);
        match recv(socket, spare_capacity(&mut answer), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Answer::parse(&answer),
            Ok(_) if answer.len() > LIMIT => return Err(io::Error::other("dockerd's answer is too long")),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn send_all(
    socket: &UnixStream,
    mut bytes: &[u8],
    wait: &impl Fn(&UnixStream, PollFlags) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN | Errno::INTR) => wait(socket, PollFlags::OUT)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
