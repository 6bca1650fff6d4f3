//! A child that leads its own session, with a controlling terminal if its standard input is one. Called by
//! `control::shell`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the child of `command` a session leader; `terminal` says that its standard input becomes the controlling terminal.
pub fn own_session(command: &mut Command, terminal: bool) {
    let enter = move || -> io::Result<()> {
        rustix::process::setsid()?;
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(enter) };
}
