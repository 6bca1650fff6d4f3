//! One connection to the socket, as bytes: what `ask` and the framing cases write and read. Knows of HTTP only where a head
//! ends and how a chunked body is cut.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Largest head and largest body that is kept in memory, in bytes.
const MAX_HEAD: usize = 1 << 20;
const MAX_BODY: usize = 64 << 20;

/// A connection with the bytes that were read and not yet asked for.
pub struct Wire {
    stream: UnixStream,
    pending: Vec<u8>,
}

impl Wire {
    /// Connects; no single read or write may take longer than `deadline`.
    pub fn connect(socket: &str, deadline: Duration) -> Result<Wire> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"))?;
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(Wire { stream, pending: Vec::new() })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("the peer took no more bytes")
    }

    /// Ends this side's sending.
    pub fn half_close(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("half-close")
    }

    /// Reads some more; false at the end.
    pub fn fill(&mut self) -> Result<bool> {
        let mut buffer = [0; 32 << 10];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let so_far = self.pending[..self.pending.len().min(400)].escape_ascii().to_string();
                bail!("nothing came before the deadline; before that {so_far:?}")
            }
            Err(error) => return Err(error).context("read"),
        };
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Takes what was read but not asked for.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Reads up to and with `mark`.
    pub fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(mark.len()).position(|window| window == mark) {
                let rest = self.pending.split_off(at + mark.len());
                return Ok(std::mem::replace(&mut self.pending, rest));
            }
            ensure!(self.pending.len() < MAX_BODY, "{} bytes came without {:?}", MAX_BODY, mark.escape_ascii());
            if !self.fill()? {
                bail!("the stream ended before {:?}: {:?}", mark.escape_ascii(), self.pending.escape_ascii());
            }
        }
    }

    /// Reads a head, with its empty line. `None` when the connection ended before its first byte.
    pub fn head(&mut self) -> Result<Option<Vec<u8>>> {
        if self.pending.is_empty() && !self.fill()? {
            return Ok(None);
        }
        let head = self.until(b"\r\n\r\n")?;
        ensure!(head.len() <= MAX_HEAD, "a head of {} bytes", head.len());
        Ok(Some(head))
    }

    /// Reads exactly `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        ensure!(count <= MAX_BODY, "a body of {count} bytes");
        while self.pending.len() < count {
            if !self.fill()? {
                bail!("the stream ended {} bytes early", count - self.pending.len());
            }
        }
        let rest = self.pending.split_off(count);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    /// Reads to the end of the stream.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        while self.fill()? {
            ensure!(self.pending.len() < MAX_BODY, "more than {MAX_BODY} bytes");
        }
        Ok(self.take_pending())
    }

    /// Reads a chunked body to its end without keeping it; its length.
    pub fn skip_chunks(&mut self) -> Result<u64> {
        let (mut total, mut scratch) = (0, vec![0; 256 << 10]);
        loop {
            let size = self.chunk_size()?;
            if size == 0 {
                while self.until(b"\r\n")? != b"\r\n" {}
                return Ok(total);
            }
            let mut left = size;
            let waiting = self.pending.len().min(left);
            self.pending.drain(..waiting);
            left -= waiting;
            while left > 0 {
                let room = left.min(scratch.len());
                let count = self.stream.read(&mut scratch[..room]).context("read")?;
                ensure!(count > 0, "the stream ended in a chunk, {left} bytes early");
                left -= count;
            }
            ensure!(self.exactly(2)? == b"\r\n", "a chunk does not end in CR LF");
            total += size as u64;
        }
    }

    fn chunk_size(&mut self) -> Result<usize> {
        let line = self.until(b"\r\n")?;
        let digits = std::str::from_utf8(&line[..line.len() - 2]).context("a chunk size")?;
        usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))
    }

    /// Reads the next chunk of a chunked body; `None` is the last one, trailers included.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let size = self.chunk_size()?;
        if size == 0 {
            while self.until(b"\r\n")? != b"\r\n" {}
            return Ok(None);
        }
        let data = self.exactly(size)?;
        ensure!(self.exactly(2)? == b"\r\n", "a chunk does not end in CR LF");
        Ok(Some(data))
    }
}
