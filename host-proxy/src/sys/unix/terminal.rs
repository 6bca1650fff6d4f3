//! The user's terminal: raw mode that is always given back, and its size. Called by `cli::shell`.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Raw mode of the terminal on standard input; dropping it restores what was.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Enters raw mode: every key, Ctrl-C too, goes to the program in the guest.
    pub fn enter() -> io::Result<Option<RawMode>> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(RawMode { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Columns and rows of the terminal on standard output.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Tells when the size may have changed.
#[derive(Debug)]
pub struct Resizes(Signal);

impl Resizes {
    /// Listens to SIGWINCH.
    pub fn listen() -> io::Result<Resizes> {
        Ok(Resizes(signal(SignalKind::window_change())?))
    }

    /// The next change. Cancel-safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Whether terminals here understand colour codes.
pub fn shows_colours() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// What makes this shell use the engine; `flag` chooses the profile, as ` -p work`.
pub fn in_this_shell(flag: &str) -> String {
    format!("eval \"$(lighter env{flag})\"")
}
