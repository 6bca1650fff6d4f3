//! Endpoints are Unix sockets of mode 0600 in a directory of mode 0700, and every peer's uid is checked too, because a mode
//! can be changed by mistake. Called by the daemon (`Listener`) and by the verbs that talk to it (`connect`).

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{UnixListener, UnixStream};

/// Where clients look that know neither docker contexts nor DOCKER_HOST.
pub const SYSTEM_SOCKET: Option<&str> = Some("/var/run/docker.sock");

/// What every docker client connects to and a daemon serves by itself: a link is enough here, see `context::socket`.
pub const WELL_KNOWN: Option<&str> = None;

/// One connection.
pub type Stream = UnixStream;

/// Where an endpoint lives: a socket called `file` in `dir`. (Windows uses `pipe` instead.)
pub fn address(dir: &Path, file: &str, _pipe: &str) -> PathBuf {
    dir.join(file)
}

/// Whether `path` fits into `sockaddr_un.sun_path` (107 bytes on Linux, 103 on macOS).
pub fn fits(path: &Path) -> bool {
    std::os::unix::net::SocketAddr::from_pathname(path).is_ok()
}

/// What `DOCKER_HOST` is for this endpoint.
pub fn docker_host(address: &Path) -> String {
    format!("unix://{}", address.display())
}

/// The paths that clients have for this endpoint: some follow links before they name it (`/tmp` is one on macOS).
pub fn paths(address: &Path) -> Vec<String> {
    let followed = std::fs::canonicalize(address).ok();
    let paths = [Some(address.to_owned()), followed].into_iter().flatten();
    paths.filter_map(|path| path.into_os_string().into_string().ok()).collect()
}

/// Connects to a daemon. `NotFound` and `ConnectionRefused` mean that none listens, `ConnectionReset` that one has
/// just stopped to.
pub async fn connect(address: &Path) -> io::Result<Stream> {
    UnixStream::connect(address).await
}

/// Whether clients still find something at `address`.
pub fn stands(address: &Path) -> bool {
    fs::symlink_metadata(address).is_ok()
}

/// The process that serves `address`: nobody is asked here, because it may be a service manager that made the socket.
pub fn server(_address: &Path) -> Option<u32> {
    None
}

/// The process that listens at the other end of `stream`, as the kernel says.
pub fn peer_pid(stream: &Stream) -> Option<u32> {
    stream.peer_cred().ok()?.pid().and_then(|pid| u32::try_from(pid).ok())
}

/// A listening endpoint; a socket file of our own is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket file, so that nobody else's is ever removed; none if a service manager keeps it.
    identity: Option<(u64, u64)>,
}

/// The first descriptor that a service manager passes, by its protocol (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;
/// More than any unit of ours names.
const MOST_PASSED: RawFd = 16;
/// Connections that may wait to be accepted; the system's own limit is lower.
const BACKLOG: i32 = 4096;

/// Listening sockets that a service manager made before this process and passes to it.
#[derive(Debug, Default)]
pub struct Inherited(Vec<std::os::unix::net::UnixListener>);

impl Inherited {
    /// Those that `LISTEN_FDS` counts, if `LISTEN_PID` says that they are for this process. A second call gets none.
    pub fn take() -> io::Result<Inherited> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
        let ours = number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
        let count = number("LISTEN_FDS").filter(|count| ours && (1..=MOST_PASSED).contains(count)).unwrap_or(0);
        if count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Inherited::default());
        }
        let mut sockets = Vec::new();
        for descriptor in FIRST_PASSED..FIRST_PASSED + count {
            sockets.push(adopt(descriptor)?);
        }
        Ok(Inherited(sockets))
    }

    /// The one at `path`.
    fn find(&mut self, path: &Path) -> Option<std::os::unix::net::UnixListener> {
        let real = |path: &Path| path.canonicalize().ok();
        let is_at = |socket: &std::os::unix::net::UnixListener| {
            let address = socket.local_addr().ok();
            let named = address.as_ref().and_then(|address| address.as_pathname());
            named.is_some_and(|named| named == path || (real(named).is_some() && real(named) == real(path)))
        };
        let at = self.0.iter().position(is_at)?;
        Some(self.0.swap_remove(at))
    }
}

/// The listening socket with this number, which is no other owner's.
fn adopt(descriptor: RawFd) -> io::Result<std::os::unix::net::UnixListener> {
    let wrong =
        |source| io::Error::other(format!("descriptor {descriptor} of LISTEN_FDS cannot be listened at: {source}"));
    // SAFETY: it is asked whether the descriptor is open before anything else is done with it. If it is, the environment says
    // that whoever started this process passed it, `TAKEN` lets this happen once, and it happens before this process opens a
    // file of its own that could have got the number.
    #[expect(unsafe_code)]
    let owned = unsafe {
        rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(descriptor)).map_err(wrong)?;
        OwnedFd::from_raw_fd(descriptor)
    };
    // QEMU must not inherit it.
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC).map_err(wrong)?;
    // Not for the first time, but a client is told that its peer is the process that did this last.
    rustix::net::listen(&owned, BACKLOG).map_err(wrong)?;
    let socket = std::os::unix::net::UnixListener::from(owned);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listener {
    /// Listens at `path` with the socket that a service manager has there, or with one of our own.
    pub fn open(path: &Path, inherited: &mut Inherited) -> io::Result<Listener> {
        match inherited.find(path) {
            Some(socket) => {
                Ok(Listener { socket: UnixListener::from_std(socket)?, path: path.to_owned(), identity: None })
            }
            None => Listener::bind(path),
        }
    }

    /// Listens at `path`, replacing a dead daemon's socket: the caller holds the profile's lock, so no living one owns it.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        remove_stale(path)?;
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(Listener { socket, path: path.to_owned(), identity: Some((metadata.dev(), metadata.ino())) })
    }

    /// None, see [`WELL_KNOWN`].
    pub fn well_known() -> Option<Listener> {
        None
    }

    /// The next client that runs as our user; others are closed without a word.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            // Fails only for a peer that is gone again.
            let Ok(peer) = stream.peer_cred() else { continue };
            let uid = peer.uid();
            if uid == rustix::process::geteuid().as_raw() {
                return Ok(stream);
            }
            tracing::warn!(uid, socket = %self.path.display(), "Closed a connection of another user");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = |metadata: &fs::Metadata| Some((metadata.dev(), metadata.ino())) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| ours(&metadata)) {
            // Nothing is lost if it stays: the next daemon replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is not a socket is in its place: move it away",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
