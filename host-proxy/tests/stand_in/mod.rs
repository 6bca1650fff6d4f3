//! A stand-in for the machine: every `dial` of the proxy becomes an [`End`] in the hands of the test, which then plays
//! dockerd byte by byte. The client's side of a proxied connection is an [`End`] too. The `docker_*` tests use it.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

pub mod bulk;
pub mod engine;
pub mod paths;
mod request;
pub mod talk;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use lighter::{
    docker::serve_connection,
    guest::{BoxFuture, BoxedStream, GuestDialer},
    shares::Shares,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// What a "socket" holds before its writer has to wait, in bytes.
pub const SOCKET: usize = 16 << 10;
/// A test that waits longer than this for one event has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A duplex stream whose far end can reset it.
pub struct Link {
    stream: DuplexStream,
    reset: Arc<AtomicBool>,
    operations: Arc<AtomicUsize>,
}

/// The test's end of a [`Link`].
pub struct End {
    pub stream: DuplexStream,
    reset: Arc<AtomicBool>,
    /// Reads and writes of the proxy on this link that did something: on a socket each were a system call.
    pub operations: Arc<AtomicUsize>,
    name: &'static str,
}

pub fn link(name: &'static str) -> (Link, End) {
    let (near, far) = duplex(SOCKET);
    let reset = Arc::new(AtomicBool::new(false));
    let operations = Arc::new(AtomicUsize::new(0));
    let link = Link { stream: near, reset: reset.clone(), operations: operations.clone() };
    (link, End { stream: far, reset, operations, name })
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.operations.fetch_add(1, Ordering::SeqCst);
        if buf.filled().len() == before && self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.operations.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(count)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Fails the test, by name of what it waits for, when that does not come.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what}: nothing happened"))
}

impl End {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = soon(self.name, self.stream.write_all(bytes.as_ref())).await;
        sent.unwrap_or_else(|error| panic!("{} cannot send: {error}", self.name));
    }

    /// The next bytes must be exactly these.
    pub async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut got = vec![0; bytes.len()];
        let mut at = 0;
        while at < got.len() {
            match soon(self.name, self.stream.read(&mut got[at..])).await {
                Ok(n) if n > 0 && got[at..at + n] == bytes[at..at + n] => at += n,
                Ok(n) => {
                    let (got, wanted) = (got[..at + n].escape_ascii(), bytes.escape_ascii());
                    panic!("{} got\n{got}\ninstead of\n{wanted}", self.name);
                }
                Err(error) => panic!("{} cannot read: {error}", self.name),
            }
        }
    }

    /// Everything up to the end of the peer's sending.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        soon(self.name, self.stream.read_to_end(&mut bytes)).await.unwrap();
        bytes
    }

    /// Nothing more comes: the peer has ended its sending.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.rest().await.escape_ascii().to_string(), "", "{} got", self.name);
    }

    /// Nothing at all comes, not even an end, for this long; for tests that move the clock.
    pub async fn expect_quiet(&mut self, time: Duration) {
        let read = timeout(time, self.stream.read_u8()).await;
        assert!(read.is_err(), "{} got {read:?}", self.name);
    }

    /// The head up to its empty line, as text.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = soon(self.name, self.stream.read_u8()).await;
            head.push(byte.unwrap_or_else(|_| panic!("{} got {:?}", self.name, head.escape_ascii().to_string())));
        }
        String::from_utf8(head).unwrap()
    }

    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Kills this end: the proxy reads a reset behind the bytes that were sent.
    pub fn reset(self) {
        self.reset.store(true, Ordering::SeqCst);
    }
}

struct Dialer {
    dialed: mpsc::UnboundedSender<End>,
    refusal: Refusal,
    shares: Arc<Shares>,
}

/// Why there is no machine just now.
type Refusal = Arc<Mutex<Option<&'static str>>>;

impl GuestDialer for Dialer {
    fn dial(&self, port: u32) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            assert_eq!(port, lighter_protocol::ports::DOCKER);
            if let Some(refusal) = *self.refusal.lock().unwrap() {
                return Err(io::Error::other(refusal));
            }
            let (near, far) = link("engine");
            self.dialed.send(far).map_err(|_| io::Error::other("the test is over"))?;
            Ok(Box::new(near) as BoxedStream)
        })
    }

    fn shares(&self) -> BoxFuture<'_, io::Result<Arc<Shares>>> {
        let refusal = *self.refusal.lock().unwrap();
        Box::pin(
            async move { refusal.map_or_else(|| Ok(self.shares.clone()), |refusal| Err(io::Error::other(refusal))) },
        )
    }

    fn own_sockets(&self) -> &[String] {
        static SOCKETS: LazyLock<[String; 1]> = LazyLock::new(|| [OWN_SOCKET.to_owned()]);
        &*SOCKETS
    }
}

/// Where clients of a [`Machine`] reach its API.
pub const OWN_SOCKET: &str = "/home/me/.lighter/default/docker.sock";

/// A machine that serves dials for as long as it is held.
pub struct Machine {
    pub dialer: Arc<dyn GuestDialer>,
    dialed: mpsc::UnboundedReceiver<End>,
    refusal: Refusal,
}

impl Machine {
    pub fn new() -> Machine {
        Machine::sharing(Shares::none())
    }

    /// One whose containers may see these folders.
    pub fn sharing(shares: Shares) -> Machine {
        let (sender, dialed) = mpsc::unbounded_channel();
        let refusal = Refusal::default();
        Machine {
            dialer: Arc::new(Dialer { dialed: sender, refusal: refusal.clone(), shares: Arc::new(shares) }),
            dialed,
            refusal,
        }
    }

    pub fn unreachable(cause: &'static str) -> Machine {
        let machine = Machine::new();
        machine.refuse(Some(cause));
        machine
    }

    /// From now on there is none, or one again.
    pub fn refuse(&self, cause: Option<&'static str>) {
        *self.refusal.lock().unwrap() = cause;
    }

    /// A client connection, and the proxy's task that serves it.
    pub fn client(&self) -> (End, JoinHandle<()>) {
        let (near, far) = link("client");
        (far, tokio::spawn(serve_connection(near, self.dialer.clone())))
    }

    /// The next connection that the proxy opens to dockerd.
    pub async fn engine(&mut self) -> End {
        soon("dial", self.dialed.recv()).await.unwrap()
    }

    /// The same, however long it takes; `None` when the machine is gone.
    pub async fn next_dial(&mut self) -> Option<End> {
        self.dialed.recv().await
    }

    pub fn assert_never_dialed_again(&mut self) {
        assert!(self.dialed.try_recv().is_err(), "the proxy opened another connection to dockerd");
    }
}
