//! The daemon's log: stages, states, warnings; never a request's body nor an environment. At most two files of 10 MiB.
//! Called by `cli::daemon` and `cli::start --foreground`.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use lighter_vmm::ConsoleSink;
use lighter_vmm::virtio::console::LogWriter;
use tracing::level_filters::LevelFilter;

/// Size at which the log is moved to `daemon.log.1`, in bytes.
const LONGEST: u64 = 10 << 20;

/// Keeps the log's end from being lost: settle before the process exits.
#[derive(Debug, Clone)]
pub struct Log(Arc<LogWriter>);

impl Log {
    /// From here on everything that is traced goes to the file at `path`. `LIGHTER_LOG` is the level (`debug`, `warn`, …).
    pub fn open(path: &Path) -> io::Result<Log> {
        let writer = LogWriter::open(ConsoleSink { path: path.to_owned(), max_bytes: LONGEST })?;
        let log = Log(Arc::new(writer));
        let level = std::env::var("LIGHTER_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
        let sink = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(level).with_writer(move || Lines(sink.clone())).finish();
        // A second daemon in one process, as in tests, goes on with the first one's log.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(log)
    }

    /// Waits until all is written, two seconds at most.
    pub fn settle(&self) {
        self.0.settle();
    }
}

struct Lines(Log);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.write(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
