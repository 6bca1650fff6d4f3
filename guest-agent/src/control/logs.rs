//! Streams a log to the host: its last lines, then new ones as they are written. Called by `control`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lighter_protocol::wire::{MAX_PAYLOAD, StreamFrame};
use lighter_protocol::{LogSource, Reply};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, inotify};

use super::deadline;
use crate::frames::{FrameError, Frames};
use crate::{log_file, paths, ready};

/// A host that takes no lines for so long is taken to be gone.
const PATIENCE: Duration = Duration::from_secs(600);
const KERNEL: &str = "/dev/kmsg";

/// Where a log is.
pub fn file_of(source: LogSource) -> &'static Path {
    Path::new(match source {
        LogSource::Dockerd => paths::DOCKERD_LOG,
        LogSource::Containerd => paths::CONTAINERD_LOG,
        LogSource::Agent => paths::AGENT_LOG,
        LogSource::Kernel => KERNEL,
    })
}

/// Streams the log at `path`; with `follow` until the host closes.
pub fn serve(path: &Path, follow: bool, tail: Option<u32>, frames: &mut Frames) -> Result<(), FrameError> {
    let mut log = match Log::open(path) {
        Ok(log) => log,
        Err(error) => {
            let message = format!("Log {} cannot be read: {error}", path.display());
            return frames.send(&Reply::Error { message }, deadline());
        }
    };
    frames.send(&Reply::Stream, deadline())?;
    send(frames, &last_lines(&log.read_all()?, tail))?;
    if follow {
        while log.wait(frames)? {
            send(frames, &log.read_new()?)?;
        }
        return Ok(());
    }
    frames.send_stream(&StreamFrame::Exit(0), Instant::now() + PATIENCE)
}

fn send(frames: &mut Frames, bytes: &[u8]) -> Result<(), FrameError> {
    for chunk in bytes.chunks(MAX_PAYLOAD) {
        frames.send_stream(&StreamFrame::Stdout(chunk.to_vec()), Instant::now() + PATIENCE)?;
    }
    Ok(())
}

/// The last `tail` lines of `text`, all when `None`.
fn last_lines(text: &[u8], tail: Option<u32>) -> Vec<u8> {
    let Some(tail) = tail else { return text.to_vec() };
    let limit = tail as usize;
    let mut lines = VecDeque::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if lines.len() == limit {
            lines.pop_front();
        }
        if limit > 0 {
            lines.push_back(line);
        }
    }
    lines.into_iter().flatten().copied().collect()
}

/// An open log and how to know that it grew.
enum Log {
    /// A [`log_file::LogFile`]: the older half, the current file, and events of their folder.
    Lines { path: PathBuf, file: File, folder: OwnedFd },
    /// The kernel's ring buffer: one record per read, readable when there is a new one.
    Kernel(File),
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new(KERNEL) {
            let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
            return Ok(Self::Kernel(OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?));
        }
        let folder = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&folder, path.parent().unwrap_or(Path::new("/")), events)?;
        Ok(Self::Lines { path: path.to_owned(), file: File::open(path)?, folder })
    }

    /// Everything so far.
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        if let Self::Lines { path, .. } = self
            && let Ok(mut older) = File::open(log_file::older(path))
        {
            older.read_to_end(&mut text)?;
        }
        text.extend(self.read_new()?);
        Ok(text)
    }

    /// What has come since the last time; across a change of files.
    fn read_new(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Self::Kernel(ring) => read_kernel(ring, &mut text)?,
            Self::Lines { path, file, .. } => {
                file.read_to_end(&mut text)?;
                if let Ok(current) = File::open(&*path)
                    && current.metadata()?.ino() != file.metadata()?.ino()
                {
                    // Written between the read above and the change of files.
                    file.read_to_end(&mut text)?;
                    *file = current;
                    file.read_to_end(&mut text)?;
                }
            }
        }
        Ok(text)
    }

    /// Waits until there may be more; `false` when the host has closed.
    fn wait(&self, frames: &mut Frames) -> Result<bool, FrameError> {
        let grown = match self {
            Self::Lines { folder, .. } => PollFd::new(folder, PollFlags::IN),
            Self::Kernel(ring) => PollFd::new(ring, PollFlags::IN),
        };
        let mut fds = [grown, PollFd::new(frames, PollFlags::IN)];
        // Without a deadline: the host's closing ends it.
        ready::wait_any(&mut fds, None)?;
        let host = !fds[1].revents().is_empty();
        if let Self::Lines { folder, .. } = self {
            let mut events = [0; 4096];
            let _none = rustix::io::read(folder, &mut events);
        }
        // The host has nothing to say here: bytes are ignored, the end is the end.
        Ok(!host || frames.discard()? != Some(0))
    }
}

/// Records look like `6,339,5140900,-;text` with continuation lines that begin with a space.
fn read_kernel(ring: &mut File, text: &mut Vec<u8>) -> io::Result<()> {
    let mut record = [0; 8192];
    loop {
        match ring.read(&mut record) {
            Ok(0) => return Ok(()),
            Ok(count) => kernel_lines(&record[..count], text),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // EPIPE: records were overwritten before they were read; the next read goes on after them.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
    }
}

fn kernel_lines(record: &[u8], text: &mut Vec<u8>) {
    let mut lines = BufReader::new(record).split(b'\n').map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let Some(end) = first.iter().position(|byte| *byte == b';') else { return };
    let header = String::from_utf8_lossy(&first[..end]).into_owned();
    let micros: u64 = header.split(',').nth(2).and_then(|field| field.parse().ok()).unwrap_or(0);
    text.extend(format!("[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000).into_bytes());
    text.extend_from_slice(&first[end + 1..]);
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::{kernel_lines, last_lines};

    #[test]
    fn the_last_lines_are_whole_and_in_order() {
        let text = b"one\ntwo\nthree";
        assert_eq!(last_lines(text, None), text);
        assert_eq!(last_lines(text, Some(0)), b"");
        assert_eq!(last_lines(text, Some(2)), b"two\nthree");
        assert_eq!(last_lines(text, Some(9)), text);
    }

    #[test]
    fn a_kernel_record_becomes_one_line_with_its_time() {
        let mut text = Vec::new();
        kernel_lines(b"6,339,5140900,-;NET: registered\n SUBSYSTEM=net\n", &mut text);
        kernel_lines(b"garbage", &mut text);
        assert_eq!(text, b"[    5.140900] NET: registered\n");
    }
}
