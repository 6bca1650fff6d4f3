//! `docker run -it` on a real pseudo-terminal: output, resize, Ctrl-C, detach keys, exit codes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{BUSYBOX, Case, Session, same};
use crate::process::wait;

/// The cases of this file.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "run_it_is_a_terminal_and_codes_pass", run: terminal },
        Case { name: "run_it_resize_reaches_the_container", run: resize },
        Case { name: "run_it_ctrl_c_interrupts", run: ctrl_c },
        Case { name: "run_it_detach_keys_leave_it_running", run: detach },
    ]
}

/// A docker CLI on a pseudo-terminal of its own.
pub struct Terminal {
    child: Child,
    controller: File,
    output: Receiver<Vec<u8>>,
    seen: String,
    patience: u32,
}

impl Terminal {
    /// Starts `docker …`.
    pub fn docker(s: &Session, args: &[&str]) -> Result<Self> {
        let controller: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let name = ptsname(&controller, Vec::new())?;
        let user = File::options().read(true).write(true).open(name.to_str()?)?;
        tcsetwinsize(&controller, size(80, 24))?;
        // setsid makes the terminal the controlling one, so that Ctrl-C and resizes become signals as in a real session.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(&s.docker).args(args);
        command.env("DOCKER_CONFIG", s.dir.join("docker")).env("TERM", "xterm");
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        command.stdin(Stdio::from(user.try_clone()?)).stdout(Stdio::from(user.try_clone()?)).stderr(Stdio::from(user));
        let child = command.spawn().context("cannot run setsid")?;
        drop(command);
        let controller = File::from(controller);
        let mut reader = controller.try_clone()?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, controller, output, seen: String::new(), patience: s.patience })
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        Ok(self.controller.write_all(text.as_bytes())?)
    }

    /// Waits until the terminal shows this text.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60) * self.patience;
        ensure!(self.shows(text, end), "the terminal never showed {text:?}; it shows {:?}", self.seen);
        Ok(())
    }

    /// Whether the terminal shows this text before `end`.
    fn shows(&mut self, text: &str, end: Instant) -> bool {
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return false,
            }
        }
        true
    }

    /// Gives the terminal this size as somebody does who drags a window's corner, and a second time if nothing has come of it:
    /// the docker CLI begins to listen for resizes only when dockerd has answered its first one, and the container
    /// already prints by then.
    fn drag(&mut self, (columns, rows): (u16, u16), shown: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60) * self.patience;
        while Instant::now() < end {
            tcsetwinsize(&self.controller, size(columns - 1, rows))?;
            tcsetwinsize(&self.controller, size(columns, rows))?;
            if self.shows(shown, end.min(Instant::now() + Duration::from_secs(5) * self.patience)) {
                return Ok(());
            }
        }
        bail!("the terminal never showed {shown:?}; it shows {:?}", self.seen);
    }

    /// Waits for the end of the program.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        let status = wait(&mut self.child, Duration::from_secs(60) * self.patience);
        Ok(status.with_context(|| format!("the terminal shows {:?}", self.seen))?.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

fn terminal(s: &Session) -> Result<()> {
    let mut t = Terminal::docker(s, &["run", "--rm", "-it", BUSYBOX, "sh", "-c", "tty; read x; echo [$x]; exit 3"])?;
    t.expect("/dev/pts/0")?;
    t.type_in("typed\n")?;
    t.expect("[typed]")?;
    same("exit code", t.exit_code()?, Some(3))
}

fn resize(s: &Session) -> Result<()> {
    // The trap first: a signal that comes before it is lost, and the first size would be there already.
    let script = "trap 'stty size' WINCH; stty size; while :; do sleep 1; done";
    let mut t = Terminal::docker(s, &["run", "--rm", "-it", "--name", "sized", BUSYBOX, "sh", "-c", script])?;
    t.expect("24 80")?;
    t.drag((101, 37), "37 101")?;
    s.out(&["rm", "-f", "sized"])?;
    ensure!(t.exit_code()? == Some(137), "the client outlived its container");
    Ok(())
}

fn ctrl_c(s: &Session) -> Result<()> {
    let mut t = Terminal::docker(
        s,
        &[
            "run",
            "--rm",
            "-it",
            BUSYBOX,
            "sh",
            "-c",
            "trap 'echo caught; exit 130' INT; echo up; while :; do sleep 1; done",
        ],
    )?;
    t.expect("up")?;
    t.type_in("\x03")?;
    t.expect("caught")?;
    same("exit code", t.exit_code()?, Some(130))
}

fn detach(s: &Session) -> Result<()> {
    let mut t = Terminal::docker(s, &["run", "-it", "--name", "left", BUSYBOX, "sh"])?;
    t.expect("#")?;
    t.type_in("\x10\x11")?;
    same("exit code of the detached client", t.exit_code()?, Some(0))?;
    same("still running", s.out(&["inspect", "-f", "{{.State.Running}}", "left"])?, "true".to_owned())
}
