//! The one thing that differs by system in these tests: the local socket that stands for the product's own.
#![allow(dead_code, unused_imports, clippy::unwrap_used, missing_docs)]

pub use local::{Listener, Stream, connect};

/// How many descriptors this process has open, where the system tells.
pub fn open_descriptors() -> Option<usize> {
    std::fs::read_dir("/dev/fd").ok().map(Iterator::count)
}

/// Bytes of memory that this process really takes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(unix)]
mod local {
    use tokio::net::UnixListener;
    pub use tokio::net::UnixStream as Stream;

    pub struct Listener {
        listener: UnixListener,
        dir: tempfile::TempDir,
    }

    impl Listener {
        pub async fn new() -> Listener {
            let dir = tempfile::tempdir().unwrap();
            Listener { listener: UnixListener::bind(dir.path().join("docker.sock")).unwrap(), dir }
        }

        /// As `docker -H` takes it.
        pub fn address(&self) -> String {
            format!("unix://{}", self.dir.path().join("docker.sock").display())
        }

        pub async fn accept(&self) -> Stream {
            self.listener.accept().await.unwrap().0
        }
    }

    pub async fn connect(address: &str) -> std::io::Result<Stream> {
        Stream::connect(address.trim_start_matches("unix://")).await
    }
}

#[cfg(not(unix))]
mod local {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use lighter::sys::endpoint;
    pub use lighter::sys::endpoint::Stream;
    use tokio::sync::Mutex;

    /// The product's own: message pipes are nowhere else made as docker clients need them.
    pub struct Listener {
        listener: Mutex<endpoint::Listener>,
        path: PathBuf,
    }

    impl Listener {
        pub async fn new() -> Listener {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = PathBuf::from(format!(r"\\.\pipe\lighter_docker_{}_{number}", std::process::id()));
            Listener { listener: Mutex::new(endpoint::Listener::bind(&path).unwrap()), path }
        }

        /// As `docker -H` takes it.
        pub fn address(&self) -> String {
            endpoint::docker_host(&self.path)
        }

        pub async fn accept(&self) -> Stream {
            self.listener.lock().await.accept().await.unwrap()
        }
    }

    pub async fn connect(address: &str) -> std::io::Result<Stream> {
        let path = address.trim_start_matches("npipe://").replace('/', r"\");
        endpoint::connect(Path::new(&path)).await
    }
}
