//! One question and its answer: built by a case, sent on a connection of its own, written into the transcript.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Lab, Length};
use crate::reply::{Head, Reply};
use crate::wire::Wire;

/// How a body goes into the transcript.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Byte for byte.
    Exact,
    /// As JSON with every list sorted: for lists that dockerd builds from a map.
    Sorted,
    /// Keys and types only: for measurements.
    Shape,
    /// Not at all: the case itself says what matters of it.
    Head,
}

/// A question being put together.
pub struct Ask<'l, 'w> {
    lab: &'l mut Lab<'w>,
    method: String,
    path: String,
    headers: Vec<String>,
    body: Option<Vec<u8>>,
    show: Show,
    chunked: bool,
}

impl<'l, 'w> Ask<'l, 'w> {
    /// `path` gets the newest version in front unless it has one; `=` in front of it takes it as it is.
    pub fn new(lab: &'l mut Lab<'w>, method: &str, path: &str) -> Self {
        let path = versioned(path);
        let method = method.to_owned();
        Self { lab, method, path, headers: Vec::new(), body: None, show: Show::Exact, chunked: false }
    }

    /// Adds a header line.
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// A body of JSON.
    pub fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// A body that claims to be JSON.
    pub fn text(self, body: &str) -> Self {
        self.body("application/json", body.as_bytes().to_vec())
    }

    /// A body of any type.
    pub fn body(mut self, kind: &str, body: Vec<u8>) -> Self {
        if !kind.is_empty() {
            self.headers.push(format!("Content-Type: {kind}"));
        }
        self.body = Some(body);
        self
    }

    /// Sends the body in chunks.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// How the answer's body goes into the transcript.
    pub fn show(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// Asks, records, and insists on a status.
    pub fn expect(mut self, status: u16) -> Result<Reply> {
        let mut wire = self.send()?;
        let reply = Reply::read(&mut wire, &self.method).with_context(|| self.line())?;
        self.lab.note_reply(&reply, self.show);
        self.check(&reply.head, status, &reply.text())?;
        Ok(reply)
    }

    /// Asks, records the head, and leaves the status and what follows to the case.
    pub fn any(mut self) -> Result<(Head, Wire)> {
        let mut wire = self.send()?;
        let head = Head::read(&mut wire).with_context(|| self.line())?;
        self.lab.note_head(&head, Length::Volatile);
        Ok((head, wire))
    }

    /// Asks, records the head, insists on a status and leaves what follows to the case.
    pub fn open(mut self, status: u16) -> Result<(Head, Wire)> {
        let mut wire = self.send()?;
        let head = Head::read(&mut wire).with_context(|| self.line())?;
        self.lab.note_head(&head, Length::Exact);
        self.check(&head, status, "")?;
        Ok((head, wire))
    }

    fn check(&self, head: &Head, status: u16, body: &str) -> Result<()> {
        ensure!(head.status == status, "{}: {} instead of {status}: {}", self.line(), head.line, body.trim());
        Ok(())
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn send(&mut self) -> Result<Wire> {
        let mut wire = self.lab.connect()?;
        let bytes = self.bytes();
        self.lab.note(&format!("> {}", self.line()));
        for header in self.headers.clone() {
            self.lab.note(&format!("> {header}"));
        }
        match &self.body {
            Some(body) if body.len() <= 4096 && body.is_ascii() => {
                let text = format!("> {}", String::from_utf8_lossy(body));
                self.lab.note(&text);
            }
            Some(_) => self.lab.note("> (a large or binary body)"),
            None => {}
        }
        // dockerd may refuse a body before it has read all of it; then the answer counts, and not that the rest found no reader.
        let sent = wire.send(&bytes);
        if bytes.len() < 64 << 10 {
            sent.with_context(|| self.line())?;
        }
        Ok(wire)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: docker\r\n", self.method, self.path);
        for header in &self.headers {
            head += &format!("{header}\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        let mut bytes;
        if self.chunked {
            bytes = (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for piece in body.chunks(1000) {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            if self.body.is_some() || self.method == "POST" || self.method == "PUT" {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            bytes = (head + "\r\n").into_bytes();
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// The version in front of paths that name none.
pub const VERSION: &str = "/v1.45";

/// See [`Ask::new`].
pub fn versioned(path: &str) -> String {
    match path.strip_prefix('=') {
        Some(verbatim) => verbatim.to_owned(),
        None if path.starts_with("/v1.") => path.to_owned(),
        None => format!("{VERSION}{path}"),
    }
}

/// Escapes text for a query.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
