//! Runs a program for the host: on a terminal of its own, or with stdin, stdout and stderr as pipes. One thread moves all
//! bytes of a session. Called by `control`.
//!
//! A session ends with [`StreamFrame::Exit`] when the program has ended and its output has been sent. A host that hangs up
//! ends the program's session: SIGHUP to its process group, SIGKILL a little later.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lighter_protocol::wire::{MAX_PAYLOAD, StreamFrame};
use lighter_protocol::{Reply, Shell};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;

use super::deadline;
use super::program::{self, size};
use crate::frames::{FrameError, Frames};
use crate::reaper::{Reaper, Running};
use crate::{ready, sys};

/// A host that takes no output for so long is taken to be gone.
const PATIENCE: Duration = Duration::from_secs(600);
/// Output that background children may still write after the program has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(250);
/// More than a pipe or terminal can hold: it was written after the program's end.
const MOST_LAST_OUTPUT: usize = 2 << 20;
/// Between SIGHUP and SIGKILL.
const HANG_UP: Duration = Duration::from_secs(2);
/// Input that the program has not taken yet; beyond this the host is not read.
const INPUT_LIMIT: usize = 256 * 1024;

/// Starts the program and carries its bytes until it has ended or the host has hung up.
pub fn serve(reaper: &Reaper, wish: &Shell, frames: &mut Frames) -> Result<(), FrameError> {
    let session = match Session::start(reaper, wish) {
        Ok(session) => session,
        Err(error) => {
            let program = program::name(wish);
            return frames.send(&Reply::Error { message: format!("Could not run {program}: {error}") }, deadline());
        }
    };
    session.carry(frames)
}

/// A program that runs, and our ends of its input and output.
struct Session {
    running: Running,
    /// Where input goes; `None` after its end.
    input: Option<OwnedFd>,
    pending: Vec<u8>,
    input_ended: bool,
    /// Where output comes from: the terminal, or stdout and stderr.
    outputs: Vec<Output>,
    terminal: bool,
}

/// Where output comes from and what it is sent as.
type Output = (OwnedFd, fn(Vec<u8>) -> StreamFrame);

impl Session {
    fn start(reaper: &Reaper, wish: &Shell) -> io::Result<Self> {
        let mut command = program::command(wish);
        sys::session::own_session(&mut command, wish.tty.is_some());
        match wish.tty {
            Some((columns, rows)) => Self::on_terminal(reaper, command, columns, rows),
            None => Self::on_pipes(reaper, command),
        }
    }

    fn on_terminal(reaper: &Reaper, mut command: Command, columns: u16, rows: u16) -> io::Result<Self> {
        let (terminal, program_side) = program::terminal(columns, rows)?;
        command.stdin(program_side.try_clone()?).stdout(program_side.try_clone()?).stderr(program_side);
        let (_, running) = reaper.spawn(&mut command)?;
        let output = terminal.try_clone()?;
        Self::new(running, terminal, vec![(output, StreamFrame::Stdout)], true)
    }

    fn on_pipes(reaper: &Reaper, mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, running) = reaper.spawn(&mut command)?;
        let expect = "all three were asked for as pipes";
        let outputs: Vec<Output> = vec![
            (child.stdout.take().expect(expect).into(), StreamFrame::Stdout),
            (child.stderr.take().expect(expect).into(), StreamFrame::Stderr),
        ];
        Self::new(running, child.stdin.take().expect(expect).into(), outputs, false)
    }

    fn new(running: Running, input: OwnedFd, outputs: Vec<Output>, terminal: bool) -> io::Result<Self> {
        for fd in outputs.iter().map(|(fd, _)| fd).chain([&input]) {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { running, input: Some(input), pending: Vec::new(), input_ended: false, outputs, terminal })
    }

    fn carry(mut self, frames: &mut Frames) -> Result<(), FrameError> {
        // A host that is gone before it is told leaves a program as much as one that goes later.
        let told = frames.send(&Reply::Stream, deadline());
        let result = told.and_then(|()| self.carry_until_end(frames));
        if result.is_err() {
            // Dropping the terminal hangs it up; a program on pipes has to be told.
            self.running.signal_group(Signal::HUP);
            self.running.signal_group(Signal::CONT);
            if self.running.wait_for(HANG_UP).is_none() {
                self.running.signal_group(Signal::KILL);
            }
        }
        result
    }

    fn carry_until_end(&mut self, frames: &mut Frames) -> Result<(), FrameError> {
        let mut ended = self.running.ended()?;
        let mut last_output = ended.is_none().then(|| Instant::now() + LAST_OUTPUT);
        let mut after_end = 0;
        loop {
            let more_here = self.take_frames(frames)?;
            self.write_input();
            let sent = self.send_output(frames)?;
            after_end += if last_output.is_some() { sent } else { 0 };
            let quiet = |limit| sent == 0 && Instant::now() >= limit;
            if last_output.is_some_and(|limit| self.outputs.is_empty() || quiet(limit) || after_end > MOST_LAST_OUTPUT)
            {
                frames.send_stream(&StreamFrame::Exit(self.running.wait().0), patience())?;
                frames.finish(deadline());
                return Ok(());
            }
            // What has been received already is announced by nothing any more.
            if sent > 0 || (more_here && !self.is_full()) {
                continue;
            }
            if self.wait(frames, ended.as_ref(), last_output)? {
                ended = None;
                last_output = Some(Instant::now() + LAST_OUTPUT);
            }
        }
    }

    /// Waits until something can move. `true` if the program has ended.
    fn wait(&self, frames: &Frames, ended: Option<&OwnedFd>, until: Option<Instant>) -> Result<bool, FrameError> {
        // While the program does not take its input the host is not read, but its hanging up must be seen.
        let full = self.is_full();
        let mut fds = Vec::with_capacity(5);
        fds.push(PollFd::new(frames, if full { PollFlags::RDHUP } else { PollFlags::IN }));
        if let Some(ended) = ended {
            fds.push(PollFd::new(ended, PollFlags::IN));
        }
        if let Some(input) = self.input.as_ref().filter(|_| !self.pending.is_empty()) {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        fds.extend(self.outputs.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)));
        ready::wait_any(&mut fds, until)?;
        if full && !fds[0].revents().is_empty() {
            return Err(FrameError::Cut);
        }
        Ok(ended.is_some() && !fds[1].revents().is_empty())
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= INPUT_LIMIT
    }

    /// Takes what the host has sent, while there is room for it; whether it stopped for that. The host's hanging up is an
    /// error: the session has no other end before the program's.
    fn take_frames(&mut self, frames: &mut Frames) -> Result<bool, FrameError> {
        loop {
            while !self.is_full() {
                match frames.stream_frame()? {
                    None => break,
                    Some(StreamFrame::Stdin(bytes)) if bytes.is_empty() => self.input_ended = true,
                    Some(StreamFrame::Stdin(bytes)) if self.input.is_some() && !self.input_ended => {
                        self.pending.extend_from_slice(&bytes);
                    }
                    Some(StreamFrame::Resize(columns, rows)) => self.resize(columns, rows),
                    // Input after its end, or a kind that only the guest sends.
                    Some(_) => {}
                }
            }
            if self.is_full() {
                return Ok(true);
            }
            match frames.fill()? {
                None => return Ok(false),
                Some(0) => return Err(FrameError::Cut),
                Some(_) => {}
            }
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        if let Some(terminal) = self.input.as_ref().filter(|_| self.terminal) {
            let _nobody_looks = tcsetwinsize(terminal, size(columns, rows));
        }
    }

    /// Gives the program what it takes. A program that takes no more input is no error.
    fn write_input(&mut self) {
        while let Some(input) = self.input.as_ref().filter(|_| !self.pending.is_empty()) {
            match rustix::io::write(input, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.end_input(),
            }
        }
        if self.input_ended && self.pending.is_empty() && self.input.is_some() {
            if self.terminal {
                // A terminal has no end of input but the character for it; the descriptor stays for resizing.
                self.pending.push(4);
                self.input_ended = false;
                return self.write_input();
            }
            self.end_input();
        }
    }

    fn end_input(&mut self) {
        self.input = None;
        self.pending = Vec::new();
    }

    /// Sends at most one frame per output, so that input has its turn. How many bytes that was.
    fn send_output(&mut self, frames: &mut Frames) -> Result<usize, FrameError> {
        let (mut sent, mut closed) = (0, Vec::new());
        for (index, (fd, frame)) in self.outputs.iter().enumerate() {
            let mut bytes = Vec::with_capacity(MAX_PAYLOAD);
            match rustix::io::read(fd, spare_capacity(&mut bytes)) {
                Ok(count @ 1..) => {
                    frames.send_stream(&frame(bytes), patience())?;
                    sent += count;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The end of a pipe; of a terminal it is EIO, when its last program has closed it.
                Ok(0) | Err(_) => closed.push(index),
            }
        }
        for index in closed.into_iter().rev() {
            self.outputs.remove(index);
        }
        Ok(sent)
    }
}

fn patience() -> Instant {
    Instant::now() + PATIENCE
}
