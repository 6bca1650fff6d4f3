//! `lighter logs`: the last lines, new ones as they come, across the change of files, until the host closes.
#![allow(clippy::unwrap_used, reason = "a failed test says so")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lighter_agent::control::logs;
use lighter_agent::frames::Frames;
use lighter_agent::log_file::{LIMIT, LogFile, older};
use lighter_agent::ready;
use lighter_protocol::Reply;
use lighter_protocol::wire::StreamFrame;
use rustix::event::PollFlags;

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

struct Host {
    frames: Frames,
    serving: JoinHandle<bool>,
    text: String,
}

impl Host {
    fn asks(path: PathBuf, follow: bool, tail: Option<u32>) -> Self {
        let (host, guest) = UnixStream::pair().unwrap();
        let serving =
            std::thread::spawn(move || logs::serve(&path, follow, tail, &mut Frames::new(guest.into())).is_ok());
        Self { frames: Frames::new(host.into()), serving, text: String::new() }
    }

    fn streams(mut self) -> Self {
        assert_eq!(self.frames.message::<Reply>(deadline()).unwrap(), Some(Reply::Stream));
        self
    }

    /// Reads until the text so far satisfies `enough` or the end; `false` at the end.
    fn until(&mut self, enough: impl Fn(&str) -> bool) -> bool {
        loop {
            match self.frames.stream_frame().unwrap() {
                Some(StreamFrame::Stdout(bytes)) => self.text.push_str(&String::from_utf8(bytes).unwrap()),
                Some(StreamFrame::Exit(0)) => return false,
                Some(frame) => panic!("a log sends {frame:?}"),
                None if enough(&self.text) => return true,
                None => {
                    assert!(
                        ready::wait(&self.frames, PollFlags::IN, deadline()).unwrap(),
                        "silence; so far: {}",
                        self.text
                    );
                    assert_ne!(self.frames.fill().unwrap(), Some(0), "ended without an exit frame");
                }
            }
        }
    }
}

#[test]
fn the_tail_of_a_log_is_sent_and_the_stream_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.log");
    LogFile::open(&path).unwrap().write(b"one\ntwo\nthree\n");
    let mut host = Host::asks(path, false, Some(2)).streams();
    assert!(!host.until(|_| false));
    assert_eq!(host.text, "two\nthree\n");
    assert!(host.serving.join().unwrap());
}

#[test]
fn following_sends_new_lines_and_ends_when_the_host_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.log");
    let mut log = LogFile::open(&path).unwrap();
    log.write(b"old\n");
    let mut host = Host::asks(path, true, None).streams();
    assert!(host.until(|text| text.contains("old")));
    log.write(b"new\n");
    assert!(host.until(|text| text.ends_with("new\n")));
    log.write(b"newer\n");
    assert!(host.until(|text| text.ends_with("newer\n")));
    drop(host.frames);
    assert!(host.serving.join().unwrap(), "the host's closing is the usual end");
}

#[test]
fn following_goes_on_in_the_new_file_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.log");
    let mut log = LogFile::open(&path).unwrap();
    log.write(b"first\n");
    let mut host = Host::asks(path.clone(), true, None).streams();
    assert!(host.until(|text| text.contains("first")));
    let line = vec![b'x'; 1023];
    for number in 0..(LIMIT / 1024 + 10) {
        log.write(&line);
        log.write(b"\n");
        if number % 256 == 0 {
            // Two changes of files between two looks would lose the one in the middle; a reader that keeps up sees all.
            let expected = usize::try_from(number + 1).unwrap();
            assert!(host.until(|text| text.matches('\n').count() > expected));
        }
    }
    log.write(b"last\n");
    assert!(host.until(|text| text.ends_with("last\n")));
    assert_eq!(host.text.matches('\n').count() as u64, LIMIT / 1024 + 10 + 2);
    assert!(older(&path).exists());
}

#[test]
fn a_log_is_never_longer_than_its_two_halves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.log");
    let mut log = LogFile::open(&path).unwrap();
    for _ in 0..3 * LIMIT / 4096 {
        log.write(&[b'y'; 4096]);
    }
    let size = |path| std::fs::metadata(path).unwrap().len();
    assert!(size(path.clone()) <= LIMIT && size(older(&path)) <= LIMIT);
    drop(log);
    // A log that goes on after a restart knows how long it is.
    let mut log = LogFile::open(&path).unwrap();
    for _ in 0..LIMIT / 4096 {
        log.write(&[b'z'; 4096]);
    }
    assert!(size(path) <= LIMIT);
}

#[test]
fn a_log_that_is_not_there_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::asks(folder.path().join("none.log"), true, None);
    let Some(Reply::Error { message }) = host.frames.message(deadline()).unwrap() else { panic!("no error") };
    assert!(message.contains("none.log"), "{message}");
}

#[test]
fn a_host_that_talks_while_it_follows_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.log");
    let mut log = LogFile::open(&path).unwrap();
    log.write(b"a\n");
    let (host, guest) = UnixStream::pair().unwrap();
    let serving = std::thread::spawn(move || logs::serve(&path, true, None, &mut Frames::new(guest.into())).is_ok());
    (&host).write_all(&[0xff; 100_000]).unwrap();
    let mut host = Host { frames: Frames::new(host.into()), serving, text: String::new() }.streams();
    log.write(b"b\n");
    assert!(host.until(|text| text.ends_with("b\n")));
}
