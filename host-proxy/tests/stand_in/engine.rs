//! A small dockerd of our own: it speaks enough of the API for `docker version | ps | run -i … cat | exec -i … cat |
//! load | events | logs -f`, in the same words and with the same framing, over any stream. Its only program is `cat`, its only
//! image is `c`, and of a build it says what it got.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::{io, sync::Arc, time::Duration};

use super::bulk::{self, Then};
use super::request::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split},
    sync::{Notify, mpsc},
    time::sleep,
};

const ID: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const VERSION: &str = r#"{"Platform":{"Name":"stand-in"},"Version":"26.1.5","ApiVersion":"1.45",
    "MinAPIVersion":"1.24","Os":"linux","Arch":"amd64","GoVersion":"none","GitCommit":"none"}"#;

/// What happens in the engine, as the test sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    EventsRequested,
    /// The client of `docker events` has gone.
    EventsEnded,
}

/// One engine, shared by its connections.
pub struct Engine {
    exited: Notify,
    pub events: mpsc::UnboundedSender<Event>,
}

impl Engine {
    pub fn new() -> (Arc<Engine>, mpsc::UnboundedReceiver<Event>) {
        let (events, seen) = mpsc::unbounded_channel();
        (Arc::new(Engine { exited: Notify::new(), events }), seen)
    }

    /// Serves one connection until its client ends it.
    pub async fn serve<S: AsyncRead + AsyncWrite>(self: Arc<Self>, stream: S) {
        let (read, write) = split(stream);
        // The client may leave at any time; what that must look like is the test's business.
        let _ = self.talk(BufReader::new(read), write).await;
    }

    async fn talk<S>(&self, mut from: BufReader<ReadHalf<S>>, mut to: WriteHalf<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite,
    {
        while let Some(request) = Request::read(&mut from).await? {
            let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
            // Whichever version a client begins with, before it knows the engine's.
            let unversioned = path.strip_prefix("/v1.").and_then(|rest| Some(&rest[rest.find('/')?..]));
            let path = match unversioned.unwrap_or(path) {
                "/images/c/get" => "/stand-in/stream/7/3000000",
                path => path,
            };
            let path = path.to_owned();
            let tail = query.split('&').find_map(|word| word.strip_prefix("tail=")?.parse().ok());
            // None of these has a body.
            match bulk::serve(&path, &mut from, &mut to).await.transpose()? {
                Some(Then::End) => return Ok(()),
                Some(Then::Next) => continue,
                None => {}
            }
            let body = request.body(&mut from).await?;
            match (request.method.as_str(), path.as_str()) {
                ("HEAD", "/_ping") => to.write_all(head("200 OK", 2).as_bytes()).await?,
                ("GET", "/_ping") => answer(&mut to, "200 OK", "OK").await?,
                ("GET", "/version") => answer(&mut to, "200 OK", VERSION).await?,
                ("GET", "/containers/json") => answer(&mut to, "200 OK", "[]").await?,
                ("POST", "/containers/create") => {
                    answer(&mut to, "201 Created", &format!(r#"{{"Id":"{ID}","Warnings":[]}}"#)).await?;
                }
                ("POST", "/images/load" | "/build") => {
                    let text = format!("{{\"stream\":\"{} {}\\n\"}}", body.bytes, body.hash());
                    answer(&mut to, "200 OK", &text).await?;
                }
                ("GET", "/events") => return self.watch_events(from, to).await,
                ("GET", p) if p.ends_with("/logs") => match tail {
                    None => return logs(to, usize::MAX).await,
                    Some(lines) => logs(&mut to, lines).await?,
                },
                ("POST", p) if p.ends_with("/wait") => self.wait(&mut to).await?,
                ("POST", p) if p.ends_with("/attach") || p.starts_with("/exec/") => return self.cat(from, to).await,
                ("POST", p) if p.ends_with("/exec") => answer(&mut to, "201 Created", r#"{"Id":"e1"}"#).await?,
                ("POST", p) if p.ends_with("/start") => to.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?,
                ("GET", "/exec/e1/json") => answer(&mut to, "200 OK", r#"{"Running":false,"ExitCode":0}"#).await?,
                ("GET", _) if path.starts_with("/containers/") => {
                    let json = format!(r#"{{"Id":"{ID}","State":{{"Running":true}},"Config":{{}}}}"#);
                    answer(&mut to, "200 OK", &json).await?;
                }
                _ => answer(&mut to, "404 Not Found", r#"{"message":"not in this stand-in"}"#).await?,
            }
            if request.last {
                return to.shutdown().await;
            }
        }
        Ok(())
    }

    /// The head at once, the exit code when `cat` has ended.
    async fn wait(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        self.exited.notified().await;
        to.write_all(b"11\r\n{\"StatusCode\": 0}\r\n0\r\n\r\n").await
    }

    /// stdin comes back as frames of stdout, until stdin ends.
    async fn cat(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        to.write_all(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
              Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        )
        .await?;
        let mut block = vec![0; 30_000];
        loop {
            let count = from.read(&mut block).await?;
            if count == 0 {
                break;
            }
            to.write_all(&[&[1, 0, 0, 0], &(count as u32).to_be_bytes()[..], &block[..count]].concat()).await?;
        }
        self.exited.notify_one();
        to.shutdown().await
    }

    async fn watch_events(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        let _ = self.events.send(Event::EventsRequested);
        let ended = from.read_u8().await;
        assert!(ended.is_err(), "the client of `events` sent something");
        let _ = self.events.send(Event::EventsEnded);
        Ok(())
    }
}

/// So many lines one after the other, or fewer if the client leaves.
async fn logs(mut to: impl AsyncWrite + Unpin, lines: usize) -> io::Result<()> {
    to.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                   Transfer-Encoding: chunked\r\n\r\n",
    )
    .await?;
    for _ in 0..lines {
        to.write_all(b"5\r\nline\n\r\n").await?;
        sleep(Duration::from_millis(20)).await;
    }
    to.write_all(b"0\r\n\r\n").await
}

fn head(status: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nApi-Version: 1.45\r\nOstype: linux\r\nServer: Docker/26.1.5 (linux)\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn answer(to: &mut (impl AsyncWrite + Unpin), status: &str, body: &str) -> io::Result<()> {
    to.write_all((head(status, body.len()) + body).as_bytes()).await
}
