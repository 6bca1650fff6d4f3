//! A client of message pipes as those in Go are: an empty message ends its sending, and reading nothing is the end of what the
//! other side sends. It reads the pipe as bytes, as they do, or message by message. `main` calls these.

use std::future::poll_fn;
use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, PipeMode};
use tokio::time::{Duration, sleep};

use crate::{hash, noise, same};

/// How the pipe is read.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    Byte,
    Message,
}

pub const MODES: [Mode; 2] = [Mode::Byte, Mode::Message];

/// `ERROR_PIPE_BUSY`: the next instance is on its way.
const BUSY: i32 = 231;

async fn dial(pipe: &str, mode: Mode) -> Result<NamedPipeClient> {
    let mut options = ClientOptions::new();
    if let Mode::Message = mode {
        options.pipe_mode(PipeMode::Message);
    }
    loop {
        match options.open(pipe) {
            Err(error) if error.raw_os_error() == Some(BUSY) => sleep(Duration::from_millis(10)).await,
            opened => return opened.context("dial"),
        }
    }
}

async fn head(from: &mut ReadHalf<NamedPipeClient>) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.with_context(|| format!("the answer broke off: {}", head.escape_ascii()))?);
    }
    Ok(String::from_utf8(head)?)
}

/// A stream that was hijacked at `path`.
async fn hijacked(
    pipe: &str,
    mode: Mode,
    path: &str,
) -> Result<(ReadHalf<NamedPipeClient>, WriteHalf<NamedPipeClient>)> {
    let (mut from, mut to) = split(dial(pipe, mode).await?);
    let ask = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    to.write_all(ask.as_bytes()).await?;
    let head = head(&mut from).await?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok((from, to))
}

/// The empty message.
async fn close_write(to: &mut WriteHalf<NamedPipeClient>) -> Result<()> {
    poll_fn(|cx| Pin::new(&mut *to).poll_write(cx, &[])).await.map(drop).context("the empty message")
}

async fn rest(from: &mut ReadHalf<NamedPipeClient>) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.context("read")?;
    Ok(all)
}

/// Sends `bytes` and their end while it reads to the end.
async fn exchange(
    (mut from, mut to): (ReadHalf<NamedPipeClient>, WriteHalf<NamedPipeClient>),
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let send = async {
        for piece in bytes.chunks(33_333) {
            to.write_all(piece).await.context("write")?;
        }
        close_write(&mut to).await
    };
    tokio::try_join!(send, rest(&mut from)).map(|((), got)| got)
}

/// The contents of frames of standard output.
fn unframed(mut frames: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<8>() {
        ensure!(head[..4] == [1, 0, 0, 0], "it is no frame of standard output: {head:?}");
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        ensure!(length <= rest.len(), "a frame is cut");
        content.extend_from_slice(&rest[..length]);
        frames = &rest[length..];
    }
    ensure!(frames.is_empty(), "a frame's head is cut");
    Ok(content)
}

/// `cat` ends with its input, and its output is whole then: for attach and exec, with nothing and with much.
pub async fn attach(pipe: &str, mode: Mode) -> Result<()> {
    for path in ["/v1.45/containers/c/attach?stream=1&stdin=1&stdout=1", "/v1.45/exec/e1/start"] {
        for length in [0, 1, 2_500_000] {
            let bytes = noise(11, length);
            let got = exchange(hijacked(pipe, mode, path).await?, &bytes).await?;
            same(path, &unframed(&got)?, &bytes)?;
        }
    }
    Ok(())
}

/// `wc -c`: the answer can only be given after the end of the input.
pub async fn input(pipe: &str, mode: Mode) -> Result<()> {
    let got = exchange(hijacked(pipe, mode, "/stand-in/sink").await?, &noise(12, 3_000_001)).await?;
    same("the count", &got, b"3000001")
}

/// The output ends before the input, and to the byte.
pub async fn output(pipe: &str, mode: Mode) -> Result<()> {
    let (mut from, mut to) = hijacked(pipe, mode, "/stand-in/source/3000001").await?;
    same("zeros", &rest(&mut from).await?, &vec![0; 3_000_001])?;
    // The input is open still, and ends by itself. That its end finds nobody any more is no failure: who was silent so long
    // is taken for a client that does not understand.
    drop(close_write(&mut to).await);
    Ok(())
}

/// A body of unknown length up, one of known hash down, on one connection.
pub async fn chunked(pipe: &str, mode: Mode) -> Result<()> {
    let (mut from, mut to) = split(dial(pipe, mode).await?);
    let body = noise(13, 1_234_567);
    to.write_all(b"POST /v1.45/images/load HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    for chunk in body.chunks(7_777) {
        to.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await?;
    }
    to.write_all(b"0\r\n\r\n").await?;
    let head_text = head(&mut from).await?;
    let length = head_text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
    let mut answer = vec![0; length.parse()?];
    from.read_exact(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    ensure!(answer.contains(&format!("{} {}", body.len(), hash(&body))), "the engine got {answer}");
    to.write_all(b"GET /stand-in/stream/9/2000000 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await?;
    head(&mut from).await?;
    let mut left = &rest(&mut from).await?[..];
    let mut got = Vec::new();
    loop {
        let end = left.windows(2).position(|two| two == b"\r\n").context("a chunk's head is cut")?;
        let size = usize::from_str_radix(std::str::from_utf8(&left[..end])?, 16)?;
        let chunk = left.get(end + 2..end + 2 + size).context("a chunk is cut")?;
        got.extend_from_slice(chunk);
        left = left.get(end + 2 + size + 2..).context("a chunk's end is cut")?;
        if size == 0 {
            break;
        }
    }
    ensure!(left.is_empty(), "{} bytes are behind the body", left.len());
    same("the stream", &got, &noise(9, 2_000_000))
}
