//! stdout is data, stderr is talk. Called by every verb.

use std::io::{self, Write};
use std::process::ExitCode;

/// Says something to the person.
pub fn talk(text: &str) {
    // Nobody listens: nothing to do about it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints data. A reader that has seen enough (`lighter list | head -1`) is no failure.
pub fn data(text: &str) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(anyhow::Error::new(error).context("Cannot write to standard output")),
    }
}

/// So many bytes, for a person.
pub fn size(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{} GiB", (gib * 10.0).round() / 10.0) } else { format!("{} MiB", bytes >> 20) }
}
