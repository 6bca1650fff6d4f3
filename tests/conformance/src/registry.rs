//! An image registry as small as one can be (OCI distribution, without TLS, users or memory beyond the process), so that push and
//! pull have somebody to talk to where no network is. `main` serves it for the rig, beside dockerd; the cases of `registry` use it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// Where it listens: a loopback address, which dockerd talks to without TLS.
pub const ADDRESS: &str = "127.0.0.1:5055";

/// Largest blob, in bytes.
const MAX_BLOB: usize = 64 << 20;

/// What was pushed.
#[derive(Default)]
struct Store {
    blobs: HashMap<String, Vec<u8>>,
    /// By `name/reference`; with their types.
    manifests: HashMap<String, (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    counter: u64,
}

/// A request as far as a registry looks at it.
struct Question {
    method: String,
    path: String,
    query: String,
    kind: String,
    body: Vec<u8>,
}

/// An answer: status, header lines, body.
struct Answer(&'static str, Vec<String>, Vec<u8>);

/// Serves until the process ends.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(ADDRESS).with_context(|| format!("listen on {ADDRESS}"))?;
    println!("listening on {ADDRESS}");
    let store = Arc::new(Mutex::new(Store::default()));
    for stream in listener.incoming() {
        let (stream, store) = (stream?, Arc::clone(&store));
        std::thread::spawn(move || {
            if let Err(error) = talk(&stream, &store) {
                eprintln!("registry: {error:#}");
            }
        });
    }
    Ok(())
}

fn talk(stream: &TcpStream, store: &Mutex<Store>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(question) = read(&mut reader)? {
        let Answer(status, fields, body) = store.lock().unwrap_or_else(PoisonError::into_inner).answer(&question);
        let sized = fields.iter().any(|field| field.starts_with("Content-Length:"));
        let mut head = format!("HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n");
        fields.iter().for_each(|field| head += &format!("{field}\r\n"));
        if !sized {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut stream = stream;
        stream
            .write_all(&[(head + "\r\n").as_bytes(), if question.method == "HEAD" { &[] } else { &body }].concat())?;
    }
    Ok(())
}

/// Reads the next request; `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> Result<Option<Question>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().context("a request without a target")?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut length, mut chunked, mut kind) = (0, false, String::new());
    loop {
        let mut field = String::new();
        ensure!(reader.read_line(&mut field)? > 0, "a head without an end");
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("Content-Length")?,
            "transfer-encoding" => chunked = true,
            "content-type" => kind = value.trim().to_owned(),
            _ => {}
        }
    }
    let body = if chunked { chunks(reader)? } else { exactly(reader, length)? };
    Ok(Some(Question { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), kind, body }))
}

fn exactly(reader: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    ensure!(length <= MAX_BLOB, "a body of {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).context("a chunk size")?;
        body.extend(exactly(reader, size)?);
        ensure!(body.len() <= MAX_BLOB, "a body of more than {MAX_BLOB} bytes");
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

fn missing(code: &str) -> Answer {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": "not here", "detail": null }] });
    Answer("404 Not Found", vec!["Content-Type: application/json".to_owned()], body.to_string().into_bytes())
}

/// What is there, under its digest.
fn found(kind: &str, digest: &str, bytes: &[u8]) -> Answer {
    let fields = vec![
        format!("Content-Type: {kind}"),
        format!("Docker-Content-Digest: {digest}"),
        format!("Content-Length: {}", bytes.len()),
    ];
    Answer("200 OK", fields, bytes.to_vec())
}

impl Store {
    fn answer(&mut self, question: &Question) -> Answer {
        let Some(rest) = question.path.strip_prefix("/v2/") else { return missing("NAME_UNKNOWN") };
        if let Some((name, upload)) = rest.split_once("/blobs/uploads/") {
            return self.upload(question, name, upload);
        }
        if let Some((_, wanted)) = rest.split_once("/blobs/") {
            let blob = self.blobs.get(wanted);
            return blob.map_or(missing("BLOB_UNKNOWN"), |blob| found("application/octet-stream", wanted, blob));
        }
        match rest.split_once("/manifests/") {
            Some((name, reference)) => self.manifest(question, name, reference),
            None if rest.is_empty() => Answer("200 OK", Vec::new(), b"{}".to_vec()),
            None => missing("NAME_UNKNOWN"),
        }
    }

    /// A blob comes in three steps: a place for it, its bytes, its digest.
    fn upload(&mut self, question: &Question, name: &str, upload: &str) -> Answer {
        if question.method == "POST" {
            self.counter += 1;
            let upload = self.counter.to_string();
            self.uploads.insert(upload.clone(), Vec::new());
            return Answer("202 Accepted", vec![format!("Location: /v2/{name}/blobs/uploads/{upload}")], Vec::new());
        }
        let Some(bytes) = self.uploads.get_mut(upload) else { return missing("BLOB_UPLOAD_UNKNOWN") };
        bytes.extend_from_slice(&question.body);
        if question.method == "PATCH" {
            let range = format!("Range: 0-{}", bytes.len().saturating_sub(1));
            return Answer(
                "202 Accepted",
                vec![format!("Location: /v2/{name}/blobs/uploads/{upload}"), range],
                Vec::new(),
            );
        }
        let bytes = self.uploads.remove(upload).unwrap_or_default();
        let digest = digest(&bytes);
        if !question.query.replace("%3A", ":").contains(&digest) {
            return Answer("400 Bad Request", Vec::new(), b"another digest".to_vec());
        }
        let fields = vec![format!("Location: /v2/{name}/blobs/{digest}"), format!("Docker-Content-Digest: {digest}")];
        self.blobs.insert(digest, bytes);
        Answer("201 Created", fields, Vec::new())
    }

    fn manifest(&mut self, question: &Question, name: &str, reference: &str) -> Answer {
        if question.method != "PUT" {
            let manifest = self.manifests.get(&format!("{name}/{reference}"));
            return manifest.map_or(missing("MANIFEST_UNKNOWN"), |(kind, bytes)| found(kind, &digest(bytes), bytes));
        }
        let digest = digest(&question.body);
        for reference in [reference, &digest] {
            let kept = (question.kind.clone(), question.body.clone());
            self.manifests.insert(format!("{name}/{reference}"), kept);
        }
        let place = format!("Location: /v2/{name}/manifests/{digest}");
        Answer("201 Created", vec![place, format!("Docker-Content-Digest: {digest}")], Vec::new())
    }
}
