//! Endpoints are Unix sockets of mode 0600 in a directory of mode 0700, and every peer's uid is checked too, because a mode
//! can be changed by mistake. Called by the daemon (`Listener`) and by the verbs that talk to it (`connect`).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

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

/// Connects to a daemon. `NotFound` and `ConnectionRefused` mean that none listens, `ConnectionReset` that one has
/// just stopped to.
pub async fn connect(address: &Path) -> io::Result<Stream> {
    UnixStream::connect(address).await
}

/// The process that listens at the other end of `stream`, as the kernel says.
pub fn peer_pid(stream: &Stream) -> Option<u32> {
    stream.peer_cred().ok()?.pid().and_then(|pid| u32::try_from(pid).ok())
}

/// A listening endpoint; its socket file is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket file, so that nobody else's is ever removed.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at `path`, replacing a dead daemon's socket: the caller holds the profile's lock, so no living one owns it.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        remove_stale(path)?;
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(path)?;
        Ok(Listener { socket, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
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
        let ours = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino()) == self.identity;
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
