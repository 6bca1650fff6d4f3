//! Bulk through what `docker exec -i` does: a process in a container, its streams behind an upgrade, multiplexed as dockerd does it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::Instant;

use crate::{BLOCK, Connection, request};

/// What a measurement has a process do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Print so many bytes.
    Down,
    /// Count so many.
    Up,
}

/// Nanoseconds from the request that starts the process to the end of its output.
///
/// # Errors
/// When a stream breaks, or has not all the bytes.
pub fn run(socket: &Path, container: &str, way: Way, bytes: u64) -> io::Result<u64> {
    let command = match way {
        Way::Down => format!("[\"head\",\"-c\",\"{bytes}\",\"/dev/zero\"]"),
        Way::Up => "[\"wc\",\"-c\"]".to_owned(),
    };
    let stdin = way == Way::Up;
    let wish = format!("{{\"AttachStdin\":{stdin},\"AttachStdout\":true,\"Cmd\":{command}}}");
    let answer = post(socket, &format!("/containers/{container}/exec"), &wish)?;
    let id = answer.split("\"Id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let id = id.ok_or_else(|| io::Error::other(format!("no exec: {answer}")))?;
    let begun = Instant::now();
    let mut connection = Connection::open(socket)?;
    connection.upgrade_with(&format!("/exec/{id}/start"), "{\"Detach\":false,\"Tty\":false}")?;
    if stdin {
        let (block, mut left) = (vec![0; BLOCK], bytes);
        while left > 0 {
            let size = left.min(BLOCK as u64);
            connection.stream.write_all(&block[..size as usize])?;
            left -= size;
        }
        connection.stream.shutdown(Shutdown::Write)?;
    }
    let mut output = Frames::default();
    output.take(&connection.buffer[..connection.filled]);
    let mut block = vec![0; BLOCK];
    loop {
        match connection.stream.read(&mut block)? {
            0 => break,
            count => output.take(&block[..count]),
        }
    }
    let seen = if stdin { output.text.trim().parse().unwrap_or_default() } else { output.bytes };
    if seen != bytes {
        return Err(io::Error::other(format!("{seen} bytes of {bytes} came, and {:?}", output.text)));
    }
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The answer to a POST of JSON, head and all.
fn post(socket: &Path, path: &str, body: &str) -> io::Result<String> {
    let mut connection = Connection::open(socket)?;
    let fields = format!("Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    connection.stream.write_all((request("POST", path, &fields) + body).as_bytes())?;
    let mut answer = Vec::new();
    connection.stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What stands in dockerd's frames of eight bytes of head each: how much, and the beginning of it.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
    bytes: u64,
    text: String,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (part, rest) = bytes.split_at(bytes.len().min(8 - self.head.len()));
                self.head.extend_from_slice(part);
                bytes = rest;
                if let [_, _, _, _, size @ ..] = &self.head[..]
                    && let Ok(size) = <[u8; 4]>::try_from(size)
                {
                    self.left = u32::from_be_bytes(size) as usize;
                    self.head.clear();
                }
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= part.len();
            self.bytes += part.len() as u64;
            if self.text.len() < 80 {
                self.text.push_str(&String::from_utf8_lossy(&part[..part.len().min(80)]));
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let stream =
            [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"ab\n", &[1, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 1], b"c"];
        let stream = stream.concat();
        for size in 1..=stream.len() {
            let mut frames = Frames::default();
            stream.chunks(size).for_each(|part| frames.take(part));
            assert_eq!((frames.bytes, frames.text.as_str(), frames.left), (4, "ab\nc", 0), "by {size}");
        }
    }
}
