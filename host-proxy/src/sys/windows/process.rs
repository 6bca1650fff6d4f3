//! Signals and limits of a process. Called by `cli::daemon`, `daemon` and the verbs that start or end one.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};
use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, OpenProcess, PROCESS_TERMINATE, TerminateProcess,
};

/// What Windows gives a process from the news that its console or its session ends until it ends the process
/// (`HungAppTimeout`, 5 s), less what it takes to say so to the guest.
const LAST: Duration = Duration::from_secs(4);

/// Has `command` outlive this process, its console and whoever waits for the end of this process's output.
pub fn in_background(command: &mut Command) {
    // A console of its own, without a window: it ends with the session only, and what it runs opens none.
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: plain numbers go in, and a handle that is not there makes the second call fail, which does not matter.
        // A child gets every handle that can be inherited; the standard library makes those that it means to give by itself.
        unsafe { SetHandleInformation(GetStdHandle(stream), HANDLE_FLAG_INHERIT, 0) };
    }
}

/// A process without a window needs no session of its own.
pub fn detach() {}

/// The starter stops reading by itself.
pub fn release_stdout() -> io::Result<()> {
    Ok(())
}

/// Ends a process that does not answer.
pub fn kill(pid: u32) -> io::Result<()> {
    // SAFETY: plain numbers go in.
    let process = unsafe { OpenProcess(PROCESS_TERMINATE, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and nobody else has it.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    // SAFETY: the handle is open. The number is the exit code.
    let ended = unsafe { TerminateProcess(process.as_raw_handle(), 1) };
    if ended == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Handles are plenty.
pub fn raise_file_limit() {}

/// How many files this process may have open: Windows has no limit that we could meet.
pub fn file_limit() -> Option<u64> {
    None
}

/// Requests to end: Ctrl-C, Ctrl-Break, and the ends of the console and of the session.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl StopSignals {
    /// From here on these are ours to answer.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: windows::ctrl_c()?,
            stop: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            logoff: windows::ctrl_logoff()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    /// The next one; how long this process has before the system ends it, if it will. Cancel-safe.
    pub async fn next(&mut self) -> Option<Duration> {
        tokio::select! {
            _ = self.interrupt.recv() => None,
            _ = self.stop.recv() => None,
            _ = self.close.recv() => Some(LAST),
            _ = self.logoff.recv() => Some(LAST),
            _ = self.shutdown.recv() => Some(LAST),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_in_the_background_is_ended_by_its_number() {
        let mut command = Command::new("cmd.exe");
        command.args(["/c", "pause"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        in_background(&mut command);
        let mut child = command.spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        kill(child.id()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(kill(0).is_err(), "which is nobody's");
    }

    #[tokio::test]
    async fn the_ends_of_console_and_session_can_be_listened_to() {
        let mut signals = StopSignals::listen().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), signals.next()).await.is_err());
    }
}
