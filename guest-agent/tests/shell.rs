//! `lighter shell` inside the guest: exit codes as a shell reports them, pipes kept apart, a real terminal, input to its end,
//! and nothing left running when the host hangs up.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lighter_agent::control::shell;
use lighter_agent::frames::Frames;
use lighter_agent::ready;
use lighter_agent::reaper::Reaper;
use lighter_protocol::wire::StreamFrame;
use lighter_protocol::{Reply, Shell};
use rustix::event::PollFlags;

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn reaper() -> &'static Reaper {
    // One collector per process: tests run one per process under nextest and as threads under cargo test.
    static REAPER: std::sync::OnceLock<Reaper> = std::sync::OnceLock::new();
    REAPER.get_or_init(|| Reaper::start().unwrap())
}

/// A session and the host's end of it.
struct Host {
    frames: Frames,

    session: JoinHandle<bool>,
}

impl Host {
    fn start(command: &[&str], tty: Option<(u16, u16)>) -> Self {
        let (host, guest) = UnixStream::pair().unwrap();
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let wish = Shell { command, tty, env: vec![("GREETING".into(), "hello".into())] };
        let session = std::thread::spawn(move || shell::serve(reaper(), &wish, &mut Frames::new(guest.into())).is_ok());
        Self { frames: Frames::new(host.into()), session }
    }

    fn started(command: &[&str], tty: Option<(u16, u16)>) -> Self {
        let mut host = Self::start(command, tty);
        assert_eq!(host.frames.message::<Reply>(deadline()).unwrap(), Some(Reply::Stream));
        host
    }

    fn send(&mut self, frame: StreamFrame) {
        self.frames.send_stream(&frame, deadline()).unwrap();
    }

    fn next(&mut self) -> StreamFrame {
        loop {
            if let Some(frame) = self.frames.stream_frame().unwrap() {
                return frame;
            }
            assert!(ready::wait(&self.frames, PollFlags::IN, deadline()).unwrap(), "the guest is silent");
            assert_ne!(self.frames.fill().unwrap(), Some(0), "the guest hung up before the exit code");
        }
    }

    /// Output, error output, exit code.
    fn collect(mut self) -> (String, String, i32) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.next() {
                StreamFrame::Stdout(bytes) => out.extend(bytes),
                StreamFrame::Stderr(bytes) => err.extend(bytes),
                StreamFrame::Exit(code) => {
                    drop(self.frames);
                    assert!(self.session.join().unwrap());
                    return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code);
                }
                frame => panic!("the guest sends {frame:?}"),
            }
        }
    }
}

fn number(text: &str) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

#[test]
fn stdout_and_stderr_are_apart_and_the_exit_code_comes_last() {
    let host = Host::started(&["/bin/sh", "-c", "echo $GREETING; echo oops >&2; exit 42"], None);
    assert_eq!(host.collect(), ("hello\n".into(), "oops\n".into(), 42));
}

#[test]
fn a_program_killed_by_a_signal_reports_128_and_the_signal() {
    let host = Host::started(&["/bin/sh", "-c", "kill -TERM $$"], None);
    assert_eq!(host.collect().2, 128 + 15);
}

#[test]
fn a_program_that_does_not_exist_is_an_error_that_names_it() {
    let mut host = Host::start(&["/no/such/program"], None);
    let Some(Reply::Error { message }) = host.frames.message(deadline()).unwrap() else { panic!("no error") };
    assert!(message.contains("/no/such/program"), "{message}");
}

#[test]
fn a_word_that_no_program_can_take_is_an_error() {
    for command in [&[""][..], &["/bin/echo", "a\0b"]] {
        let mut host = Host::start(command, None);
        assert!(matches!(host.frames.message(deadline()).unwrap(), Some(Reply::Error { .. })), "{command:?}");
    }
}

#[test]
fn input_arrives_whole_and_its_end_too() {
    let mut host = Host::started(&["/usr/bin/wc", "-c"], None);
    for _ in 0..64 {
        host.send(StreamFrame::Stdin(vec![b'x'; 32 * 1024]));
    }
    host.send(StreamFrame::Stdin(Vec::new()));
    let (out, _, code) = host.collect();
    assert_eq!((out.trim(), code), ("2097152", 0));
}

#[test]
fn input_that_came_with_the_last_that_had_room_is_not_left_behind() {
    // A pipe that takes at once all that a session holds back, so that nothing but the session itself can go on; and output
    // that keeps the session from looking at its input until all of that is there: how much that takes is the kernel's choice.
    for chunks in 3..9 {
        let output = chunks * 65_536;
        let program =
            format!("fcntl(STDIN, 1031, 1 << 20) or die; $| = 1; print 'x' x {output}; undef $/; print length <STDIN>");
        let mut host = Host::started(&["/usr/bin/perl", "-e", &program], None);
        rustix::net::sockopt::set_socket_send_buffer_size(&host.frames, 1 << 20).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..8 {
            host.send(StreamFrame::Stdin(vec![b'x'; 32 * 1024]));
        }
        host.send(StreamFrame::Stdin(Vec::new()));
        let (out, err, code) = host.collect();
        assert_eq!((out.trim_start_matches('x'), err.as_str(), code), ("262144", "", 0), "{chunks}");
    }
}

#[test]
fn input_that_nobody_reads_does_not_stop_the_output() {
    let mut host = Host::started(&["/bin/sh", "-c", "exec <&-; echo done"], None);
    host.send(StreamFrame::Stdin(vec![b'x'; 64 * 1024]));
    assert_eq!(host.collect().0, "done\n");
}

#[test]
fn a3_a_flood_of_output_is_carried_whole() {
    let host = Host::started(&["/bin/sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x"], None);
    let (out, _, code) = host.collect();
    assert_eq!((out.len(), code), (30_000_000, 0));
}

#[test]
fn a_background_child_that_keeps_the_output_does_not_hold_the_session() {
    let host = Host::started(&["/bin/sh", "-c", "sleep 1000 & echo $!; exit 5"], None);
    let (out, _, code) = host.collect();
    assert_eq!(code, 5);
    rustix::process::kill_process(number(&out), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_background_child_that_never_stops_writing_does_not_hold_the_session() {
    let host = Host::started(&["/bin/sh", "-c", "yes & echo $! >&2; exit 6"], None);
    let (_, err, code) = host.collect();
    assert_eq!(code, 6);
    // Its output is gone, so it may have ended already.
    let _ended = rustix::process::kill_process(number(&err), rustix::process::Signal::KILL);
}

#[test]
fn a_terminal_is_one_and_has_the_size_that_was_asked_for() {
    let mut host = Host::started(&["/bin/sh", "-c", "tty; stty size; read line; stty size; exit 3"], Some((132, 43)));
    let mut seen = String::new();
    while !seen.contains("43 132") {
        let StreamFrame::Stdout(bytes) = host.next() else { panic!("only output comes from a terminal") };
        seen.push_str(&String::from_utf8(bytes).unwrap());
    }
    assert!(seen.contains("/dev/pts/"), "{seen}");
    host.send(StreamFrame::Resize(80, 24));
    host.send(StreamFrame::Stdin(b"go\n".to_vec()));
    let (rest, _, code) = host.collect();
    assert!(rest.contains("24 80"), "{rest}");
    assert_eq!(code, 3);
}

#[test]
fn control_c_on_a_terminal_interrupts_the_program() {
    // A test run in the background inherits an ignored SIGINT; PID 1 of the guest does not.
    let script = "trap 'exit 130' INT; echo ready; while :; do sleep 1; done";
    let command = ["/usr/bin/env", "--default-signal=INT", "/bin/sh", "-c", script];
    let mut host = Host::started(&command, Some((80, 24)));
    assert!(matches!(host.next(), StreamFrame::Stdout(_)));
    host.send(StreamFrame::Stdin(vec![3]));
    assert_eq!(host.collect().2, 128 + 2);
}

#[test]
fn the_end_of_input_on_a_terminal_ends_a_reader() {
    let mut host = Host::started(&["/bin/cat"], Some((80, 24)));
    host.send(StreamFrame::Stdin(b"line\n".to_vec()));
    host.send(StreamFrame::Stdin(Vec::new()));
    assert_eq!(host.collect().2, 0);
}

#[test]
fn a_host_that_hangs_up_is_noticed_although_its_input_is_not_taken() {
    let mut host = Host::started(&["/bin/sleep", "1000"], None);
    // More than pipe, buffer and sockets hold: the session stops reading the host.
    let chunk = StreamFrame::Stdin(vec![b'x'; 64 * 1024]);
    let brief = || Instant::now() + Duration::from_millis(300);
    while host.frames.send_stream(&chunk, brief()).is_ok() {}
    drop(host.frames);
    assert!(!host.session.join().unwrap());
}

#[test]
fn a_host_that_hangs_up_ends_the_program_even_if_it_ignores_that() {
    for tty in [None, Some((80, 24))] {
        let script = "trap '' HUP TERM; echo $$; while :; do sleep 1; done";
        let mut host = Host::started(&["/bin/sh", "-c", script], tty);
        let StreamFrame::Stdout(bytes) = host.next() else { panic!("no number") };
        let pid = number(&String::from_utf8(bytes).unwrap());
        let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        drop(host.frames);
        assert!(!host.session.join().unwrap(), "the session knows that it was cut");
        assert!(ready::wait(&ended, PollFlags::IN, deadline()).unwrap());
    }
}

#[test]
fn a3_a_host_that_is_gone_before_the_program_runs_leaves_no_program() {
    for tty in [None, Some((80, 24))] {
        let (host, guest) = UnixStream::pair().unwrap();
        drop(host);
        let folder = tempfile::tempdir().unwrap();
        let number_file = folder.path().join("number");
        let script = format!("echo $$ > {}; exec sleep 1000", number_file.display());
        let wish = Shell { command: vec!["sh".into(), "-c".into(), script], tty, env: Vec::new() };
        assert!(shell::serve(reaper(), &wish, &mut Frames::new(guest.into())).is_err());
        // It was signalled before or after it wrote its number; if it goes on, it writes it now.
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end && !number_file.exists() {
            std::thread::yield_now();
        }
        let Ok(text) = std::fs::read_to_string(&number_file) else { continue };
        assert!(text.trim().is_empty() || gone(number(&text)), "{tty:?}: the program goes on");
    }
}

/// Whether there is no such process any more.
fn gone(process: rustix::process::Pid) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if rustix::process::test_kill_process(process).is_err() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
