//! Endpoints are named pipes that only this user of this machine can open; the first instance is ours or there is no daemon.
//! Called by the daemon (`Listener`) and by the verbs that talk to it (`connect`).
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::future::{Future, poll_fn};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeServer, PipeMode, ServerOptions};
use tokio::time::Instant;
use windows_sys::Win32::Foundation::ERROR_PIPE_BUSY;
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};

use super::host;
use super::security::Descriptor;
use stream::Pipe;
pub use stream::Stream;

/// Whether the other side has read everything.
mod drain;
/// Bytes over messages.
mod stream;

/// A pipe cannot be a link to another: the daemon itself serves the one that every client knows, see [`Listener::well_known`].
pub const SYSTEM_SOCKET: Option<&str> = None;

/// Where clients look that know neither docker contexts nor DOCKER_HOST.
pub const WELL_KNOWN: Option<&str> = Some(r"\\.\pipe\docker_engine");

/// How long a daemon may take to accept: it does so at once, unless it has as many clients as it serves.
const BUSY: Duration = Duration::from_secs(10);
/// How long a pipe may outlive its owner: while the process ends, or a client has not noticed it.
const PREDECESSOR: Duration = Duration::from_secs(3);
/// Instances that wait for a client at any time. A client that finds none free asks again some milliseconds later and may lose to
/// others for as long as they come, so there are some for those who come together.
const FREE: usize = 8;
/// How soon to ask a busy pipe again. Windows tells of a free instance only to a thread that does nothing but wait.
const AGAIN: Duration = Duration::from_millis(10);

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
    connect_within(address, BUSY).await
}

/// As [`connect`], with another patience for a pipe whose instances all have a client.
async fn connect_within(address: &Path, busy: Duration) -> io::Result<Stream> {
    let deadline = Instant::now() + busy;
    loop {
        // Its server may know who we are and not act for us: tokio asks for no more (SECURITY_IDENTIFICATION).
        match ClientOptions::new().pipe_mode(PipeMode::Message).open(address) {
            Ok(pipe) => return Ok(Stream::new(Pipe::Client(pipe))),
            Err(error) if error.raw_os_error() == i32::try_from(ERROR_PIPE_BUSY).ok() && Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether clients still find something at `address`.
pub fn stands(address: &Path) -> bool {
    host::listens(address).unwrap_or(false)
}

/// The process at the other end of `stream`, as Windows says.
pub fn peer_pid(stream: &Stream) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handles are open as long as `stream`, and `pid` is written to.
    let known = unsafe {
        match stream.pipe() {
            Pipe::Server(pipe) => GetNamedPipeClientProcessId(pipe.as_raw_handle(), &mut pid),
            Pipe::Client(pipe) => GetNamedPipeServerProcessId(pipe.as_raw_handle(), &mut pid),
        }
    };
    (known != 0).then_some(pid)
}

/// The process that serves `address`, if one does. It is asked by a connection that says nothing, which no engine minds.
pub fn server(address: &Path) -> Option<u32> {
    // As with tokio: it may know who we are and not act for us.
    let pipe = OpenOptions::new().read(true).security_qos_flags(SECURITY_IDENTIFICATION).open(address).ok()?;
    let mut pid = 0;
    // SAFETY: the handle is open as long as `pipe`, and `pid` is written to.
    let known = unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &mut pid) };
    (known != 0).then_some(pid)
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

/// A listening endpoint.
#[derive(Debug)]
pub struct Listener {
    free: Vec<NamedPipeServer>,
    path: PathBuf,
    access: Descriptor,
}

impl Listener {
    /// Listens at `path`, waiting a little for a predecessor whose lock is gone and whose process is not. Blocks.
    pub fn open(path: &Path, _inherited: &mut Inherited) -> io::Result<Listener> {
        let deadline = std::time::Instant::now() + PREDECESSOR;
        loop {
            match Listener::bind(path) {
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied && std::time::Instant::now() < deadline =>
                {
                    std::thread::sleep(AGAIN);
                }
                result => return result,
            }
        }
    }

    /// Listens at `path`; fails if anybody already does.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        let access = Descriptor::private()?;
        let first = [instance(path, &access, true)];
        let free = first.into_iter().chain((1..FREE).map(|_| instance(path, &access, false)));
        Ok(Listener { free: free.collect::<io::Result<_>>()?, path: path.to_owned(), access })
    }

    /// Listens where every docker client looks, if no engine does so already: whose it is, it stays for as long as they live.
    pub fn well_known() -> Option<Listener> {
        let path = WELL_KNOWN?;
        let listener = Listener::bind(Path::new(path));
        listener.inspect_err(|error| tracing::info!(%error, path, "Left to another engine")).ok()
    }

    /// The next client.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        // Cancel-safe: a client that came meanwhile is found by the next call, also after a failure to make an instance.
        let (at, connected) = {
            let mut waiting: Vec<_> = self.free.iter().map(|pipe| Box::pin(pipe.connect())).collect();
            poll_fn(|context| {
                let ready =
                    waiting.iter_mut().enumerate().find_map(|(at, connects)| match connects.as_mut().poll(context) {
                        Poll::Ready(result) => Some((at, result)),
                        Poll::Pending => None,
                    });
                ready.map_or(Poll::Pending, Poll::Ready)
            })
            .await
        };
        let fresh = instance(&self.path, &self.access, false)?;
        // One that failed is given up; the next client gets another.
        let pipe = std::mem::replace(&mut self.free[at], fresh);
        connected.map(|()| Stream::new(Pipe::Server(pipe)))
    }
}

/// One more instance of a pipe, for one more client.
fn instance(path: &Path, access: &Descriptor, first: bool) -> io::Result<NamedPipeServer> {
    let mut options = ServerOptions::new();
    options.pipe_mode(PipeMode::Message).first_pipe_instance(first).reject_remote_clients(true);
    let mut attributes = access.attributes();
    // SAFETY: the attributes and the descriptor that they point to live until the call is over.
    unsafe { options.create_with_security_attributes_raw(path, (&raw mut attributes).cast()) }
}

#[cfg(test)]
mod tests;
