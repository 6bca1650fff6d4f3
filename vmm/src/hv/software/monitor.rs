//! QEMU's machine protocol, as much as is needed: to learn that its devices are set up, and why it ends. Called by the
//! supervisor. Protocol: QEMU's docs/interop/qmp-spec.txt; events: qapi/run-state.json.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::Stop;

/// Longest message in bytes; the ones that QEMU sends unasked have a few hundred.
const LONGEST: u64 = 64 << 10;

/// A conversation with one QEMU.
pub struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    /// Takes our end of the monitor socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { lines: BufReader::new(socket) }
    }

    /// Returns once QEMU runs its main loop, which is when all devices are set up. `UnexpectedEof` if it ended before,
    /// `TimedOut` if it did neither until the deadline.
    pub fn wait_ready(&mut self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        self.lines.get_mut().write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.lines.get_ref().set_read_timeout(Some(left))?;
            match self.next() {
                Ok(Some(message)) if message.get("return").is_some() => {
                    return self.lines.get_ref().set_read_timeout(None);
                }
                Ok(Some(_greeting)) => {}
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Listens until QEMU closes the socket by ending; returns what it gave as the reason, if it gave one.
    pub fn wait_end(mut self) -> Option<Stop> {
        let mut reason = None;
        while let Ok(Some(message)) = self.next() {
            reason = stop_of(&message).or(reason);
        }
        reason
    }

    fn next(&mut self) -> io::Result<Option<Value>> {
        let mut line = String::new();
        // A message may have no end: QEMU may have been taken over by its guest. One cut short is not JSON.
        if self.lines.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).map_err(io::Error::from)
    }
}

fn stop_of(message: &Value) -> Option<Stop> {
    if message["event"] != "SHUTDOWN" {
        return None;
    }
    Some(match message["data"]["reason"].as_str().unwrap_or("unknown") {
        "guest-reset" => Stop::Reset,
        "guest-shutdown" => Stop::PoweredOff,
        "host-signal" => Stop::Crashed { reason: "QEMU was asked to end by a signal from outside".into() },
        other => Stop::Crashed { reason: format!("QEMU ended by itself: {other}") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripted(script: &str) -> (Monitor, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(script.as_bytes()).unwrap();
        (Monitor::new(ours), theirs)
    }

    const READY: &str = "{\"QMP\": {\"version\": {}}}\r\n{\"return\": {}}\r\n";

    #[test]
    fn the_reason_of_the_end_is_qemus() {
        for (reason, expected) in [("guest-reset", Stop::Reset), ("guest-shutdown", Stop::PoweredOff)] {
            let event =
                format!("{{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \"{reason}\"}}}}\r\n");
            let (mut monitor, theirs) = scripted(&format!("{READY}{event}{{\"event\": \"STOP\"}}\r\n"));
            monitor.wait_ready(Duration::from_secs(20)).unwrap();
            drop(theirs);
            assert_eq!(monitor.wait_end(), Some(expected));
        }
    }

    #[test]
    fn an_end_before_readiness_is_told_from_silence() {
        let (mut monitor, theirs) = scripted("{\"QMP\": {}}\r\n");
        let error = monitor.wait_ready(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        assert_eq!(monitor.wait_ready(Duration::from_secs(20)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (mut monitor, theirs) = scripted("");
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(monitor.wait_ready(Duration::from_secs(20)).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_message_without_end_is_an_error_and_not_kept() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || while theirs.write_all(&[b' '; 4096]).is_ok() {});
        let error = Monitor::new(ours).wait_ready(Duration::from_secs(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        writer.join().unwrap();
    }

    #[test]
    fn an_end_without_a_word_has_no_reason() {
        let (monitor, theirs) = scripted(READY);
        drop(theirs);
        assert_eq!(monitor.wait_end(), None);
    }
}
