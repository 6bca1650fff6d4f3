//! Signals and limits of a process. Called by `cli::daemon` and `daemon`.

use std::io;

use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

/// A process without a console needs no session of its own.
pub fn detach() {}

/// The starter stops reading by itself.
pub fn release_stdout() -> io::Result<()> {
    Ok(())
}

/// Not offered by the standard library.
pub fn kill(_pid: u32) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "end it in the task manager"))
}

/// Handles are plenty.
pub fn raise_file_limit() {}

/// How many files this process may have open: Windows has no limit that we could meet.
pub fn file_limit() -> Option<u64> {
    None
}

/// Requests to end: Ctrl-C and Ctrl-Break.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: CtrlC,
    stop: CtrlBreak,
}

impl StopSignals {
    /// From here on these are ours to answer.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals { interrupt: ctrl_c()?, stop: ctrl_break()? })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.stop.recv() => (),
        }
    }
}
