//! Processes that run a part of a case: for what only another process, another user or nobody who survives it can try. This
//! program has one thread, so what was forked may do whatever its parent may.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, waitpid};

use crate::case::{Held, Wrong};

/// Someone without privileges: an id that is user and group in one.
#[derive(Debug, Clone, Copy)]
pub struct User(pub u32);

/// Two of them, who share no group.
pub const ANNA: User = User(2001);
/// See [`ANNA`].
pub const BERT: User = User(2002);

/// A process that runs a part of a case.
pub struct Child {
    pid: Pid,
    said: File,
}

/// Starts one.
pub fn spawn(act: impl FnOnce() -> Held) -> Result<Child, Wrong> {
    let (said, say) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: there is one thread, so no lock is held by one that the child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => {
            drop(said);
            let code = match act() {
                Ok(()) => 0,
                Err(Wrong(why)) => {
                    // Who cannot be told sees the exit code.
                    let _ = File::from(say).write_all(why.as_bytes());
                    1
                }
            };
            // SAFETY: ends this process at once, whose copies of the parent's buffers must not be flushed.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or_else(|| Wrong::new("fork gave no process"))?;
            Ok(Child { pid, said: File::from(said) })
        }
    }
}

/// Makes this process, with all that it starts, one that can be ended as one.
pub fn lead() -> Held {
    Ok(rustix::process::setpgid(None, None)?)
}

impl Child {
    /// Waits for its end; fails as it did.
    pub fn wait(mut self) -> Held {
        let mut why = String::new();
        self.said.read_to_string(&mut why)?;
        ended(self.status()?, why)
    }

    /// As [`wait`](Self::wait), but no longer than that. It [leads](lead) what it started, none of which outlives this.
    pub fn wait_for(mut self, time: Duration) -> Held {
        let (start, mut why) = (Instant::now(), Vec::new());
        let in_time = loop {
            let left = time.saturating_sub(start.elapsed());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.said, PollFlags::IN)];
            if poll(&mut fds, Some(&left))? == 0 {
                break false;
            }
            let mut part = [0; 4096];
            match self.said.read(&mut part)? {
                0 => break true,
                len => why.extend_from_slice(&part[..len]),
            }
        };
        let status = if in_time { Some(self.status()?) } else { None };
        // There may be nobody left.
        let _ = kill_process_group(self.pid, Signal::KILL);
        match status {
            Some(status) => ended(status, String::from_utf8_lossy(&why).into_owned()),
            None => {
                self.status()?;
                Err(Wrong(format!("not done after {} s", time.as_secs())))
            }
        }
    }

    /// Which signal ends it; `None` if it ends by itself.
    pub fn killed_by(self) -> Result<Option<i32>, Wrong> {
        Ok(self.status()?.terminating_signal())
    }

    fn status(&self) -> Result<WaitStatus, Wrong> {
        loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::empty())? {
                return Ok(status);
            }
        }
    }
}

fn ended(status: WaitStatus, why: String) -> Held {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (_, Some(signal)) => Err(Wrong(format!("ended by signal {signal} {why}"))),
        _ => Err(Wrong(why)),
    }
}

/// Runs `act` in another process and waits for it.
pub fn apart(act: impl FnOnce() -> Held) -> Held {
    spawn(act)?.wait()
}

/// Runs `act` as someone else, who is in no other group but those given.
pub fn as_user_in(User(id): User, groups: &[u32], act: impl FnOnce() -> Held) -> Held {
    apart(|| {
        // SAFETY: the list is as long as is said.
        let changed = unsafe { libc::setgroups(groups.len(), groups.as_ptr()) == 0 };
        // SAFETY: these take plain numbers.
        let changed = changed && unsafe { libc::setresgid(id, id, id) == 0 && libc::setresuid(id, id, id) == 0 };
        if !changed {
            return Err(std::io::Error::last_os_error().into());
        }
        act()
    })
}

/// Runs `act` as someone else.
pub fn as_user(user: User, act: impl FnOnce() -> Held) -> Held {
    as_user_in(user, &[], act)
}

/// Where one process waits for another.
pub struct Gate {
    wait: OwnedFd,
    open: OwnedFd,
}

impl Gate {
    /// A closed one.
    pub fn new() -> Result<Self, Wrong> {
        let (wait, open) = rustix::pipe::pipe()?;
        Ok(Self { wait, open })
    }

    /// Waits until it is opened, and closes it behind.
    pub fn pass(&self) -> Held {
        rustix::io::read(&self.wait, &mut [0; 1])?;
        Ok(())
    }

    /// Lets one pass.
    pub fn open(&self) -> Held {
        rustix::io::write(&self.open, b"!")?;
        Ok(())
    }
}
