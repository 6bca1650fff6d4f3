//! A child whose address space is not randomised (personality(2)). Called by `engine::dockerd`.

use std::ffi::{c_int, c_ulong};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `ADDR_NO_RANDOMIZE` of linux/personality.h.
const ADDR_NO_RANDOMIZE: c_ulong = 0x0004_0000;

unsafe extern "C" {
    /// Every libc for Linux has it.
    fn personality(persona: c_ulong) -> c_int;
}

/// Gives the child of `command`, and what it starts, the same addresses at each start.
pub fn without_randomisation(command: &mut Command) {
    let set = || {
        // SAFETY: a system call that takes a number and touches no memory.
        match unsafe { personality(ADDR_NO_RANDOMIZE) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: between fork and exec the closure makes one system call and neither allocates nor locks.
    unsafe { command.pre_exec(set) };
}
