//! The program that a shell request names: its command line, environment and terminal. Called by `shell`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Command;

use lighter_protocol::Shell;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::paths;

const LOGIN_SHELL: [&str; 2] = ["/bin/sh", "-l"];

/// What it is called, for messages.
pub(super) fn name(wish: &Shell) -> &str {
    wish.command.first().map_or(LOGIN_SHELL[0], String::as_str)
}

/// The command that `wish` asks for, with an environment of its own.
pub(super) fn command(wish: &Shell) -> Command {
    let mut words = wish.command.iter().map(String::as_str);
    let mut login = LOGIN_SHELL.into_iter();
    let words: &mut dyn Iterator<Item = &str> = if wish.command.is_empty() { &mut login } else { &mut words };
    let mut command = Command::new(words.next().unwrap_or(LOGIN_SHELL[0]));
    command.args(words).current_dir("/").env_clear();
    command.env("PATH", paths::PROGRAMS).env("HOME", "/root").env("USER", "root");
    command.env("DOCKER_HOST", format!("unix://{}", lighter_protocol::paths::DOCKER_SOCKET));
    // A name that the environment cannot hold would make the start fail with a message that nobody understands.
    let fits =
        |(key, value): &&(String, String)| !key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0');
    command.envs(wish.env.iter().filter(fits).map(|(key, value)| (key, value)));
    command
}

/// A new terminal: our side and the program's.
pub(super) fn terminal(columns: u16, rows: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes()));
    let program_side = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetwinsize(ours.as_fd(), size(columns, rows))?;
    Ok((ours, program_side))
}

/// As a terminal wants it.
pub(super) fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
