//! Whether the system lets this user have the threads that a machine needs. Where it does not, a start would come to a halt somewhere
//! in the middle, in parts that cannot say why; so `lighter start` asks before it begins.

use std::io;
use std::thread;

use anyhow::Context;

/// What a daemon, its devices and QEMU have together at a start, with some to spare.
const NEEDED: usize = 32;
/// Bytes for threads that do nothing; systems take more where that is too small for them.
const STACK: usize = 64 * 1024;

/// Fails where a limit leaves too few.
pub fn room() -> anyhow::Result<()> {
    let (had, refused) = trial(NEEDED);
    refused.map_or(Ok(()), Err).with_context(|| {
        format!(
            "This user may have {had} more threads and a machine needs {NEEDED}: end other programs, or raise the limit \
             (`ulimit -u`, or TasksMax of a service, or the pids limit of a container)"
        )
    })
}

/// Has `count` threads at once, for a moment; how many there were, and why no more.
fn trial(count: usize) -> (usize, Option<io::Error>) {
    let mut threads = Vec::new();
    let mut refused = None;
    while threads.len() < count && refused.is_none() {
        match thread::Builder::new().stack_size(STACK).spawn(thread::park) {
            Ok(thread) => threads.push(thread),
            Err(error) => refused = Some(error),
        }
    }
    let had = threads.len();
    for thread in threads {
        thread.thread().unpark();
        // It does nothing that could panic.
        let _ = thread.join();
    }
    (had, refused)
}
