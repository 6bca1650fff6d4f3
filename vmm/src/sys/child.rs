//! Starting a child process that inherits chosen descriptors and cannot outlive us. Called by the software engine.
// Unsafe because what runs between fork and exec must not allocate or lock.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Starts `command` in a process group of its own (a Ctrl-C at our terminal is ours to handle) with `inherited` open under
/// the numbers that they have here; this process closes them. The kernel kills it as soon as the calling **thread** ends, so
/// call this from a thread that waits for the child.
pub fn spawn_bound(mut command: Command, inherited: Vec<OwnedFd>) -> io::Result<Child> {
    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had we died before the line above, nobody would have told the child.
        if getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        for descriptor in &inherited {
            fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls only, through rustix, which neither allocates nor locks; the
    // vector was filled before the fork and errors carry a number only.
    unsafe { command.pre_exec(before_exec) };
    command.process_group(0).spawn()
}
