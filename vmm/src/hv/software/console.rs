//! The guest's console: QEMU gives us its bytes over a socket, and they go into the same bounded log as those of our own
//! console device. QEMU 7.2 has no vhost-user console, so the device itself is QEMU's. Called by the engine.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use crate::config::ConsoleSink;
use crate::virtio::console::LogWriter;

/// Writes what comes from `socket` to the log until QEMU closes it. The thread ends then, with everything written.
pub fn record(mut socket: UnixStream, sink: ConsoleSink) -> io::Result<JoinHandle<()>> {
    let log = LogWriter::open(sink)?;
    std::thread::Builder::new().name("qemu-console".into()).spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => log.write(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::warn!(%error, "could not read the guest's console"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_the_guest_prints_is_in_the_log_when_the_thread_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = record(ours, ConsoleSink { path: path.clone(), max_bytes: 1 << 20 }).unwrap();
        theirs.write_all(b"Linux version 6.12\r\n").unwrap();
        drop(theirs);
        thread.join().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"Linux version 6.12\r\n");
    }
}
