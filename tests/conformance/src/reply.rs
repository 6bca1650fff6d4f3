//! An answer: its head taken apart as far as a client must, and its body without transfer coding.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::wire::Wire;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// Content-Length.
    Length(usize),
    /// Chunks.
    Chunked,
    /// Ends with the connection, or never: a hijacked stream.
    UntilClose,
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status line as it came.
    pub line: String,
    /// The status.
    pub status: u16,
    /// Header lines as they came, in order.
    pub fields: Vec<String>,
}

impl Head {
    /// Reads the next head, interim ones included.
    pub fn read(wire: &mut Wire) -> Result<Head> {
        let bytes = wire.head()?.context("the connection ended without an answer")?;
        Head::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Head> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("a status line like {line:?}"))?;
        Ok(Head { line, status, fields: lines.filter(|line| !line.is_empty()).map(str::to_owned).collect() })
    }

    /// A header's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|field| {
            let (key, value) = field.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How the body of an answer to `method` ends.
    pub fn framing(&self, method: &str) -> Result<Framing> {
        if method == "HEAD" || self.status == 204 || self.status == 304 || self.status / 100 == 1 {
            return Ok(Framing::Empty);
        }
        if let Some(coding) = self.field("transfer-encoding") {
            return if coding == "chunked" { Ok(Framing::Chunked) } else { bail!("transfer coding {coding:?}") };
        }
        match self.field("content-length") {
            Some(length) => Ok(Framing::Length(length.parse().context("Content-Length")?)),
            None => Ok(Framing::UntilClose),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads the answer to `method`.
    pub fn read(wire: &mut Wire, method: &str) -> Result<Reply> {
        Self::rest(Head::read(wire)?, wire, method)
    }

    /// Reads what follows the head of the answer to `method`.
    pub fn rest(head: Head, wire: &mut Wire, method: &str) -> Result<Reply> {
        let mut body = Vec::new();
        match head.framing(method)? {
            Framing::Empty => {}
            Framing::Length(length) => body = wire.exactly(length)?,
            Framing::Chunked => {
                while let Some(chunk) = wire.chunk()? {
                    body.extend_from_slice(&chunk);
                }
            }
            Framing::UntilClose => body = wire.rest()?,
        }
        Ok(Reply { head, body })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON value.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as one JSON value per line.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        let stream = serde_json::Deserializer::from_slice(&self.body).into_iter();
        stream.collect::<Result<_, _>>().with_context(|| format!("not JSON: {}", self.text()))
    }
}
