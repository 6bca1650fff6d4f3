//! Endpoints are named pipes that only this machine can reach; the first instance is ours or there is no daemon. Byte mode:
//! half-close, which needs message mode, is not here yet. Called by the daemon and by the verbs that talk to it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

/// Clients look for a pipe here, and a pipe cannot be a link to another.
pub const SYSTEM_SOCKET: Option<&str> = None;

/// One connection, either end.
#[derive(Debug)]
pub enum Stream {
    /// We listen.
    Server(NamedPipeServer),
    /// We connected.
    Client(NamedPipeClient),
}

macro_rules! either {
    ($self:ident, $pipe:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Server($pipe) => $call,
            Stream::Client($pipe) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, pipe => Pin::new(pipe).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, pipe => Pin::new(pipe).poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, pipe => Pin::new(pipe).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, pipe => Pin::new(pipe).poll_shutdown(cx))
    }
}

/// Where an endpoint lives: a pipe. (Unix uses `file` in `dir`.)
pub fn address(_dir: &Path, _file: &str, pipe: &str) -> PathBuf {
    PathBuf::from(format!(r"\\.\pipe\{pipe}"))
}

/// Pipe names have room for every profile name.
pub fn fits(_path: &Path) -> bool {
    true
}

/// What `DOCKER_HOST` is for this endpoint.
pub fn docker_host(address: &Path) -> String {
    format!("npipe://{}", address.display().to_string().replace('\\', "/"))
}

/// The paths that clients have for this endpoint: a pipe is none that a container could be given.
pub fn paths(_: &Path) -> Vec<String> {
    Vec::new()
}

/// Connects to a daemon. `NotFound` means that none listens.
pub async fn connect(address: &Path) -> io::Result<Stream> {
    Ok(Stream::Client(ClientOptions::new().open(address)?))
}

/// A pipe stands for as long as its owner does.
pub fn stands(_address: &Path) -> bool {
    true
}

/// Not asked of Windows yet.
pub fn peer_pid(_stream: &Stream) -> Option<u32> {
    None
}

/// A listening endpoint.
#[derive(Debug)]
pub struct Listener {
    next: NamedPipeServer,
    path: PathBuf,
}

/// Pipes that a service manager made before this process: Windows knows no such thing.
#[derive(Debug, Default)]
pub struct Inherited(());

impl Inherited {
    /// None.
    pub fn take() -> io::Result<Inherited> {
        Ok(Inherited::default())
    }
}

impl Listener {
    /// Listens at `path`.
    pub fn open(path: &Path, _inherited: &mut Inherited) -> io::Result<Listener> {
        Listener::bind(path)
    }

    /// Listens at `path`; fails if anybody already does.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        let next = ServerOptions::new().first_pipe_instance(true).reject_remote_clients(true).create(path)?;
        Ok(Listener { next, path: path.to_owned() })
    }

    /// The next client; the pipe's default descriptor lets nobody but the owner write.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        self.next.connect().await?;
        let fresh = ServerOptions::new().reject_remote_clients(true).create(&self.path)?;
        Ok(Stream::Server(std::mem::replace(&mut self.next, fresh)))
    }
}
