//! The one thread that starts QEMU, waits for it, and says how it ended. It must be one and the same thread, because the
//! kernel ends the child together with the thread that started it. Called by the engine.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::watch;

use super::fate::Fate;
use super::handover::Handover;
use super::monitor::Monitor;
use super::{QemuError, START_DEADLINE};
use crate::engine::Stop;
use crate::memory::LESS_MEMORY;
use crate::sys::child::spawn_bound;

/// How many bytes of QEMU's last words are kept.
const LAST_WORDS: usize = 2048;

/// Everything that the thread needs.
pub struct Supervisor {
    /// What to start.
    pub command: Command,
    /// What the child keeps open.
    pub inherited: Vec<OwnedFd>,
    /// Our end of the monitor socket.
    pub monitor: UnixStream,
    /// Freed once QEMU has read it.
    pub kernel: Handover,
    /// Threads that end once the child is gone.
    pub threads: Vec<JoinHandle<()>>,
    /// Who else may end the child.
    pub fate: Arc<Fate>,
    /// Told at the very end.
    pub stopped: watch::Sender<Option<Stop>>,
}

impl Supervisor {
    /// Runs until the child and all its threads are gone. `started` hears once: QEMU runs the guest, or why it does not.
    pub fn run(self, started: &mpsc::Sender<Result<(), QemuError>>) {
        let Self { command, inherited, monitor, kernel, threads, fate, stopped } = self;
        let spawned = start(command, inherited, &fate);
        let (mut child, stderr) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                join(threads);
                let _ = started.send(Err(error.into()));
                return;
            }
        };
        let mut monitor = Monitor::new(monitor);
        let ready = monitor.wait_ready(START_DEADLINE);
        kernel.scrub();
        drop(kernel);
        let mut reason = None;
        // Whether somebody wanted it to end before it was ready.
        let mut wanted = false;
        if ready.is_ok() {
            let _ = started.send(Ok(()));
            reason = monitor.wait_end();
        } else {
            wanted = fate.reason() == Some(Stop::Killed);
            fate.seal(Stop::Killed);
        }
        let status = child.wait();
        join(threads);
        let words = stderr.join().unwrap_or_default();
        if let Err(error) = ready {
            let _ = started.send(Err(match error.kind() {
                io::ErrorKind::TimedOut => QemuError::Silent,
                _ if wanted => QemuError::Ended("was told to end".into()),
                // It closed its end by ending, so what killed it was not the seal above.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    QemuError::Ended(ending(status, &words))
                }
                _ => QemuError::Io(error),
            }));
            return;
        }
        let crash = || Stop::Crashed { reason: format!("QEMU {}", ending(status, &words)) };
        let stop = fate.fulfilled().or(reason).unwrap_or_else(crash);
        tracing::info!(?stop, "QEMU ended");
        stopped.send_replace(Some(stop));
    }
}

type Spawned = (Child, JoinHandle<String>);

fn start(command: Command, inherited: Vec<OwnedFd>, fate: &Fate) -> io::Result<Spawned> {
    let mut child = spawn_bound(command, inherited)?;
    let prepared = bind(&mut child, fate);
    if prepared.is_err() {
        // Without the descriptor nobody else could end it.
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok((child, prepared?))
}

fn bind(child: &mut Child, fate: &Fate) -> io::Result<JoinHandle<String>> {
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    fate.child(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?);
    std::thread::Builder::new().name("qemu-stderr".into()).spawn(move || last_words(stderr))
}

/// Logs what QEMU says, and returns the end of it.
fn last_words(stderr: ChildStderr) -> String {
    let mut words = String::new();
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    // A line may have no end: QEMU may have been taken over by its guest.
    while lines.by_ref().take(LAST_WORDS as u64).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        tracing::warn!(target: "qemu", "{text}");
        words.push_str(if words.is_empty() { "" } else { "; " });
        words.push_str(text);
        if words.len() > LAST_WORDS {
            let cut = words.ceil_char_boundary(words.len() - LAST_WORDS);
            words.drain(..cut);
        }
        line.clear();
    }
    words
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a device thread panicked");
        }
    }
}

/// How it ended, what it said, and what helps where that is known.
fn ending(status: io::Result<ExitStatus>, words: &str) -> String {
    // As QEMU has it from the C library, whose messages it does not translate.
    let mut short = words.contains("Cannot allocate memory");
    let mut text = match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(9), _) => {
                short = true;
                "was killed (out of memory?)".to_owned()
            }
            (Some(signal), _) => format!("died of signal {signal}"),
            (None, code) => format!("exited with status {}", code.unwrap_or_default()),
        },
        Err(error) => format!("was lost: {error}"),
    };
    for part in [words, if short { LESS_MEMORY } else { "" }].into_iter().filter(|part| !part.is_empty()) {
        text = text + ": " + part;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    /// Nothing here takes more than milliseconds; what hangs is to fail by name.
    const DEADLINE: Duration = Duration::from_secs(10);
    /// Speaks as much of QEMU's protocol as is waited for.
    const READY: &str = "exec 5<>MONITOR; echo '{\"QMP\": {}}' >&5; read -r _ <&5; echo '{\"return\": {}}' >&5;";

    struct Running {
        fate: Arc<Fate>,
        started: mpsc::Receiver<Result<(), QemuError>>,
        stop: watch::Receiver<Option<Stop>>,
        thread: JoinHandle<()>,
    }

    /// Supervises a shell script in place of QEMU. The script opens its end of the monitor socket by the word MONITOR.
    fn supervise(script: &str) -> Running {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new("/bin/bash");
        // A socket cannot be opened by name, so the shell copies the descriptor.
        let script = script.replace("5<>MONITOR", &format!("5<&{0} 5>&{0}", theirs.as_raw_fd()));
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let fate = Arc::new(Fate::default());
        let (stopped, stop) = watch::channel(None);
        let (sender, started) = mpsc::channel();
        let supervisor = Supervisor {
            command,
            inherited: vec![theirs],
            monitor: ours,
            kernel: Handover::new("kernel", b"").unwrap(),
            threads: Vec::new(),
            fate: Arc::clone(&fate),
            stopped,
        };
        let thread = std::thread::spawn(move || supervisor.run(&sender));
        Running { fate, started, stop, thread }
    }

    impl Running {
        fn started(&self) -> Result<(), QemuError> {
            self.started.recv_timeout(DEADLINE).expect("the supervisor answers")
        }

        fn stop(self) -> Option<Stop> {
            self.thread.join().unwrap();
            self.stop.borrow().clone()
        }
    }

    #[test]
    fn what_qemu_says_before_it_fails_is_in_the_error() {
        let qemu = supervise("echo 'no such machine' >&2; echo bye >&2; exit 1");
        let error = qemu.started().unwrap_err().to_string();
        assert_eq!(error, "QEMU exited with status 1: no such machine; bye");
        assert_eq!(qemu.stop(), None);
    }

    #[test]
    fn c8_a_host_without_memory_for_qemu_is_told_with_the_way_out() {
        let qemu = supervise("echo 'cannot set up guest memory \'ram\': Cannot allocate memory' >&2; exit 1");
        let error = qemu.started().unwrap_err().to_string();
        assert!(error.starts_with("QEMU exited with status 1: cannot set up guest memory"), "{error}");
        assert!(error.ends_with(LESS_MEMORY), "{error}");
        // By the kernel, when memory runs out: before the guest runs, and while it does.
        let qemu = supervise("kill -KILL $$");
        let error = qemu.started().unwrap_err().to_string();
        assert_eq!(error, format!("QEMU was killed (out of memory?): {LESS_MEMORY}"));
        let qemu = supervise(&format!("{READY} kill -KILL $$"));
        qemu.started().unwrap();
        assert_eq!(qemu.stop(), Some(Stop::Crashed { reason: error }));
    }

    #[test]
    fn endless_complaints_are_cut_to_the_last_ones() {
        let qemu = supervise("for i in {1..9999}; do echo \"complaint ä $i\"; done >&2; exit 1");
        let error = qemu.started().unwrap_err().to_string();
        assert!(error.len() < 2 * LAST_WORDS && error.ends_with("complaint ä 9999"), "{error}");
    }

    #[test]
    fn a_program_that_cannot_run_is_an_error() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (sender, started) = mpsc::channel();
        let mut command = Command::new("/nonexistent/qemu");
        command.stderr(Stdio::piped());
        let kernel = Handover::new("kernel", b"").unwrap();
        let (stopped, _stop) = watch::channel(None);
        let fate = Arc::new(Fate::default());
        let (inherited, threads) = (Vec::new(), Vec::new());
        Supervisor { command, inherited, monitor: ours, kernel, threads, fate, stopped }.run(&sender);
        assert!(
            matches!(started.recv().unwrap(), Err(QemuError::Io(error)) if error.kind() == io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn a_reset_of_the_guest_is_told_from_a_crash() {
        let event = "echo '{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}' >&5";
        let qemu = supervise(&format!("{READY} {event}"));
        qemu.started().unwrap();
        assert_eq!(qemu.stop(), Some(Stop::Reset));
        let qemu = supervise(&format!("{READY} echo assertion failed >&2; kill -ABRT $$"));
        qemu.started().unwrap();
        let reason = "QEMU died of signal 6: assertion failed".to_owned();
        assert_eq!(qemu.stop(), Some(Stop::Crashed { reason }));
    }

    #[test]
    fn being_killed_from_outside_is_a_crash_and_by_us_is_not() {
        let qemu = supervise(&format!("{READY} kill -KILL $$"));
        qemu.started().unwrap();
        assert!(matches!(qemu.stop(), Some(Stop::Crashed { reason }) if reason.contains("out of memory?")));
        let qemu = supervise(&format!("{READY} exec sleep 1000"));
        qemu.started().unwrap();
        qemu.fate.seal(Stop::Killed);
        qemu.fate.seal(Stop::Crashed { reason: "a device broke because QEMU was gone".into() });
        assert_eq!(qemu.stop(), Some(Stop::Killed));
    }

    #[test]
    fn a_machine_that_is_to_end_before_it_started_ends() {
        let qemu = supervise("exec sleep 1000");
        qemu.fate.seal(Stop::Killed);
        assert!(matches!(qemu.started(), Err(QemuError::Ended(how)) if how == "was told to end"));
        assert_eq!(qemu.stop(), None);
    }
}
