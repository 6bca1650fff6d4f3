//! The console: no raw mode yet, so a shell runs line by line. Called by `cli::shell`.

use std::io;

/// Raw mode, which nobody can enter here yet.
#[derive(Debug)]
pub enum RawMode {}

impl RawMode {
    /// Says that there is none.
    pub fn enter() -> io::Result<Option<RawMode>> {
        Ok(None)
    }
}

/// Unknown here.
pub fn size() -> Option<(u16, u16)> {
    None
}

/// Tells when the size may have changed: never.
#[derive(Debug)]
pub struct Resizes(());

impl Resizes {
    /// Nothing to listen to.
    pub fn listen() -> io::Result<Resizes> {
        Ok(Resizes(()))
    }

    /// Never comes.
    pub async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Whether terminals here understand colour codes: Windows Terminal does, and what sets TERM; an old console may not.
pub fn shows_colours() -> bool {
    std::env::var_os("WT_SESSION").is_some() || std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// What makes this shell use the engine; `flag` chooses the profile, as ` -p work`.
pub fn in_this_shell(flag: &str) -> String {
    format!("lighter env{flag} | Invoke-Expression")
}
