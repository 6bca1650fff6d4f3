//! What a program prints, on its way into a bounded log; its last lines are kept for when it ends. Called by `supervise`.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::log_file::LogFile;
use crate::reaper::Exit;

/// Lines of a log that are reported when its program ends.
const LAST_LINES: usize = 12;
/// Bytes of a line that are kept.
const LINE: u64 = 8 * 1024;
/// For the last lines to arrive after the program has ended; its children may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// See the head of this file.
pub(super) struct Output {
    last: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected when the last writer is gone.
    end: Receiver<()>,
}

impl Output {
    /// Reads on a thread of its own until the last writer is gone.
    pub fn keep(reader: PipeReader, log: &'static str) -> io::Result<Self> {
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let (open, end) = channel();
        let keeping = Arc::clone(&last);
        thread::Builder::new().name("output".into()).spawn(move || pump(reader, log, &keeping, open))?;
        Ok(Self { last, end })
    }

    /// How the program ended and its last words.
    pub fn reason(&self, exit: Exit, readiness: Option<io::Error>) -> String {
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_timeout(LAST_WORDS) {
            tracing::info!("a child of the engine still holds its output");
        }
        let mut reason = exit.to_string();
        if let Some(error) = readiness {
            reason.push_str(&format!(" before it was ready ({error})"));
        }
        for line in &*self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            reason.push('\n');
            reason.push_str(line);
        }
        reason
    }
}

fn pump(reader: PipeReader, log: &str, last: &Mutex<VecDeque<String>>, _open: Sender<()>) {
    let mut log = LogFile::open(log).ok();
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    // A line without end is taken in pieces.
    while let Ok(1..) = (&mut lines).take(LINE).read_until(b'\n', &mut line) {
        if let Some(log) = &mut log {
            log.write(&line);
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        drop(last);
        line.clear();
    }
}
