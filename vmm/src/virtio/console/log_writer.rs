//! The bounded log behind the console: callers hand bytes over and never wait; one thread writes them. Used by the
//! console device, and by the software engine for what QEMU prints.
//!
//! ```text
//! write() ──▶ pending (256 KiB; the oldest go first when it is full) ──▶ thread ──▶ <path>  ──full──▶ <path>.1
//! ```
//!
//! Nothing is filtered: whoever shows the log must treat it as hostile text.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::ConsoleSink;
use crate::rate_limit::RateLimit;

/// Bytes that may wait for a slow disk.
const PENDING: usize = 256 << 10;
/// How long dropping the writer waits for a disk that does not answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// Writes console output to a file of bounded size. See the module's description.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something to write, or the end.
    work: Condvar,
    /// Everything is written, or the thread is gone.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<u8>,
    /// Bytes that never came to the file since it last said so.
    lost: u64,
    writing: bool,
    closed: bool,
}

impl LogWriter {
    /// Opens (or goes on with) the log that `sink` names and starts its thread.
    pub fn open(sink: ConsoleSink) -> io::Result<Self> {
        let mut log = RotatedFile::open(sink.path, sink.max_bytes)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("lighter-console".to_owned()).spawn(move || theirs.run(&mut log))?;
        Ok(Self { shared })
    }

    /// Hands over bytes to be written. Never waits for the disk: when it is too slow, the oldest bytes are dropped and a
    /// note takes their place.
    pub fn write(&self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let newest = &bytes[bytes.len().saturating_sub(PENDING)..];
        let excess = (state.pending.len() + newest.len()).saturating_sub(PENDING);
        state.pending.drain(..excess);
        state.lost += (excess + bytes.len() - newest.len()) as u64;
        state.pending.extend(newest);
        self.shared.work.notify_one();
    }

    /// Waits until all that was handed over is in the file (or was given up), or until a limit of two seconds.
    pub fn settle(&self) {
        let busy = |state: &mut State| state.writing || !state.pending.is_empty();
        // Whether it settled or the limit came, there is nothing more to do about it.
        drop(self.shared.settled.wait_timeout_while(self.shared.lock(), FAREWELL, busy));
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        self.settle();
    }
}

impl Shared {
    fn run(&self, log: &mut RotatedFile) {
        let mut warnings = RateLimit::default();
        let mut batch = VecDeque::new();
        let mut state = self.lock();
        loop {
            if state.pending.is_empty() {
                self.settled.notify_all();
                if state.closed {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            std::mem::swap(&mut batch, &mut state.pending);
            let lost = std::mem::take(&mut state.lost);
            state.writing = true;
            drop(state);
            let unwritten = log.append_after_loss(lost, &batch, &mut warnings);
            batch.clear();
            state = self.lock();
            state.writing = false;
            state.lost += unwritten;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The bytes are as good as they were before whatever went wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file and its predecessor, `<path>.1`, which together never exceed a bound.
struct RotatedFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// Bound of each of the two, in bytes.
    each: u64,
}

impl RotatedFile {
    fn open(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, each: (max_bytes / 2).max(1) })
    }

    /// Writes a note about `lost` bytes, if any, and the batch. Returns how many bytes are lost after that.
    fn append_after_loss(&mut self, lost: u64, batch: &VecDeque<u8>, warnings: &mut RateLimit) -> u64 {
        let mut left = lost + batch.len() as u64;
        if let Err(error) = self.append_counting(lost, batch, &mut left)
            && let Some(suppressed) = warnings.allow()
        {
            tracing::warn!(path = %self.path.display(), %error, suppressed, "Console output is being lost");
        }
        left
    }

    fn append_counting(&mut self, lost: u64, batch: &VecDeque<u8>, left: &mut u64) -> io::Result<()> {
        if lost > 0 {
            let note = format!("\r\n[lighter: {lost} bytes of console output are missing here]\r\n");
            self.append(note.as_bytes(), &mut (note.len() as u64))?;
            *left -= lost;
        }
        let (first, second) = batch.as_slices();
        self.append(first, left)?;
        self.append(second, left)
    }

    /// Appends bytes, and counts `left` down as they reach the file.
    fn append(&mut self, mut bytes: &[u8], left: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.size >= self.each {
                self.rotate()?;
            }
            let room = usize::try_from(self.each - self.size).unwrap_or(usize::MAX);
            match self.file.write(&bytes[..room.min(bytes.len())]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.size += count as u64;
                    *left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the full file the old one. Where that cannot be (somebody holds it open on Windows), starts it over: the bound
    /// matters more.
    fn rotate(&mut self) -> io::Result<()> {
        if let Err(error) = fs::rename(&self.path, old_name(&self.path)) {
            tracing::debug!(path = %self.path.display(), %error, "The old console log is lost");
        }
        self.file = File::create(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// `<path>.1`
fn old_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &tempfile::TempDir, max_bytes: u64) -> (LogWriter, PathBuf) {
        let path = dir.path().join("console.log");
        (LogWriter::open(ConsoleSink { path: path.clone(), max_bytes }).unwrap(), path)
    }

    #[test]
    fn the_two_files_stay_within_the_bound_and_hold_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (log, path) = log(&dir, 1000);
        let mut all = Vec::new();
        for n in 0..300 {
            let line = format!("line {n}\n");
            log.write(line.as_bytes());
            all.extend_from_slice(line.as_bytes());
        }
        drop(log);
        let (old, new) = (fs::read(old_name(&path)).unwrap(), fs::read(&path).unwrap());
        assert_eq!(old.len(), 500);
        assert!(new.len() <= 500);
        assert!(all.ends_with(&[old, new].concat()));
    }

    #[test]
    fn a_log_goes_on_where_the_last_run_stopped() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["first ", "second"] {
            log(&dir, 1000).0.write(text.as_bytes());
        }
        assert_eq!(fs::read(dir.path().join("console.log")).unwrap(), b"first second");
    }

    #[test]
    fn a_log_that_is_already_too_large_is_rotated_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("console.log"), vec![b'x'; 5000]).unwrap();
        let (log, path) = log(&dir, 1000);
        log.write(b"new");
        drop(log);
        assert_eq!(fs::read(path).unwrap(), b"new");
    }

    #[test]
    fn what_a_slow_disk_cannot_take_is_dropped_oldest_first_and_counted() {
        let shared = Arc::new(Shared::default());
        let log = LogWriter { shared: Arc::clone(&shared) };
        // No thread yet: the slowest disk there is.
        log.write(&[b'a'; PENDING]);
        log.write(b"b");
        log.write(&[b'c'; PENDING * 2]);
        log.write(b"end");
        assert_eq!(shared.lock().pending.len(), PENDING);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = RotatedFile::open(path.clone(), 4 << 20).unwrap();
        let thread = thread::spawn(move || shared.run(&mut file));
        drop(log);
        thread.join().unwrap();
        let text = fs::read(path).unwrap();
        let note = format!("[lighter: {} bytes of console output are missing here]", PENDING * 2 + 4);
        assert!(text.starts_with(format!("\r\n{note}\r\n").as_bytes()));
        assert!(text.ends_with(b"cccend"));
        assert_eq!(text.iter().filter(|&&byte| byte == b'c').count(), PENDING - 3 + note.matches('c').count());
    }

    /// More than anybody reads: a guest may print without end, and the disk may stand still meanwhile.
    #[test]
    fn m6_a_flood_of_100_mb_is_bounded_in_memory_and_on_disk() {
        const CHUNK: usize = 1 << 20;
        let shared = Arc::new(Shared::default());
        let log = LogWriter { shared: Arc::clone(&shared) };
        // No thread yet, which is a disk that takes nothing.
        for _ in 0..50 {
            log.write(&[b'x'; CHUNK]);
            assert!(shared.lock().pending.len() <= PENDING);
        }
        assert!(shared.lock().pending.capacity() <= 2 * PENDING);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = RotatedFile::open(path.clone(), 4 << 20).unwrap();
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || theirs.run(&mut file));
        for _ in 0..50 {
            log.write(&[b'y'; CHUNK]);
        }
        log.write(b"end");
        drop(log);
        thread.join().unwrap();
        assert!(shared.lock().pending.capacity() <= 2 * PENDING);
        let total: u64 = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(total <= 4 << 20, "{total} bytes");
        assert!(fs::read(path).unwrap().ends_with(b"yend"));
    }

    #[test]
    fn x5_what_a_full_disk_refused_is_counted_and_noted_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = RotatedFile::open(path.clone(), 1000).unwrap();
        // A file that is not open for writing refuses like a full disk, on every system.
        let good = std::mem::replace(&mut log.file, File::open(&path).unwrap());
        let mut warnings = RateLimit::default();
        let mut lost = log.append_after_loss(0, &VecDeque::from(*b"abc"), &mut warnings);
        assert_eq!(lost, 3);
        lost = log.append_after_loss(lost, &VecDeque::from(*b"de"), &mut warnings);
        assert_eq!(lost, 5);
        log.file = good;
        assert_eq!(log.append_after_loss(lost, &VecDeque::from(*b"f"), &mut warnings), 0);
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, "\r\n[lighter: 5 bytes of console output are missing here]\r\nf");
    }

    #[test]
    fn a_file_that_cannot_be_rotated_is_started_over() {
        let dir = tempfile::tempdir().unwrap();
        let (log, path) = log(&dir, 100);
        // A directory in the way: rename fails for everyone, root included.
        fs::create_dir_all(old_name(&path).join("occupied")).unwrap();
        log.write(&[b'x'; 120]);
        drop(log);
        assert_eq!(fs::read(path).unwrap(), [b'x'; 20]);
    }
}
