//! The agent's thread that repeats in the guest what happened on the host. Nothing that it asks for may ever be done: it was done
//! already, by somebody else, and what is there by now may be something new. A request of it that comes too late, because
//! the host has slept meanwhile or has given up waiting, is refused.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::virtio::fs::fuse::request::Operation;

/// How long a request of a thread that is not listened to any more may be on its way. The guest gives a number to another thread
/// only when it has given all others, so that nobody else has it that soon.
const LATE: Duration = Duration::from_secs(60);

/// Who it is, and who it was.
#[derive(Debug, Default)]
pub struct Herald {
    /// Its number; 0 is nobody.
    now: AtomicU32,
    before: Mutex<Option<(u32, Instant)>>,
}

impl Herald {
    /// From here on this thread; 0 is nobody.
    pub fn set(&self, thread: u32) {
        let before = self.now.swap(thread, Ordering::AcqRel);
        if before != 0 && before != thread {
            *self.former() = Some((before, Instant::now()));
        }
    }

    /// Whether a thread's requests repeat what is armed. No thread has the number 0, which is what the kernel itself asks as.
    pub fn is(&self, thread: u32) -> bool {
        thread != 0 && thread == self.now.load(Ordering::Acquire)
    }

    /// Whether nothing of what a thread asks may be done.
    pub fn may_not_act(&self, thread: u32) -> bool {
        let former = |(before, since): (u32, Instant)| before == thread && since.elapsed() < LATE;
        self.is(thread) || thread != 0 && self.former().is_some_and(former)
    }

    fn former(&self) -> MutexGuard<'_, Option<(u32, Instant)>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `O_ACCMODE | O_TRUNC` as Linux has them: neither is set in what only reads.
const READS_ONLY: u32 = 0o1003;

/// Whether something would be another than before.
pub fn acts(operation: &Operation) -> bool {
    match operation {
        Operation::Open { flags, .. } => flags & READS_ONLY != 0,
        Operation::SetAttr(_)
        | Operation::SymLink { .. }
        | Operation::MkNod { .. }
        | Operation::MkDir { .. }
        | Operation::Unlink { .. }
        | Operation::RmDir { .. }
        | Operation::Rename { .. }
        | Operation::Link { .. }
        | Operation::Create { .. }
        | Operation::TmpFile { .. }
        | Operation::Write(_)
        | Operation::SetXAttr { .. }
        | Operation::RemoveXAttr { .. }
        | Operation::FAllocate { .. }
        | Operation::CopyFileRange { .. }
        // What is mapped is changed without being asked.
        | Operation::SetUpMapping(_) => true,
        Operation::Lookup { .. }
        | Operation::Forget { .. }
        | Operation::BatchForget(_)
        | Operation::GetAttr { .. }
        | Operation::ReadLink
        | Operation::Read(_)
        | Operation::StatFs
        | Operation::Release { .. }
        | Operation::FSync { .. }
        | Operation::Flush { .. }
        | Operation::GetXAttr { .. }
        | Operation::ListXAttr { .. }
        | Operation::Init(_)
        | Operation::OpenDir
        | Operation::ReadDir(_)
        | Operation::ReadDirPlus(_)
        | Operation::ReleaseDir { .. }
        | Operation::FSyncDir { .. }
        | Operation::Interrupt
        | Operation::Destroy
        | Operation::LSeek { .. }
        | Operation::SyncFs
        | Operation::RemoveMapping(_)
        | Operation::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_who_was_listened_to_may_do_nothing_for_a_while() {
        let herald = Herald::default();
        assert!(!herald.is(0) && !herald.may_not_act(0) && !herald.may_not_act(7));
        herald.set(7);
        assert!(herald.is(7) && herald.may_not_act(7) && !herald.may_not_act(8));
        herald.set(0);
        assert!(!herald.is(7) && herald.may_not_act(7));
        herald.set(8);
        assert!(herald.is(8) && herald.may_not_act(7) && herald.may_not_act(8));
        let long_ago = Instant::now().checked_sub(LATE).expect("the host has been up longer");
        *herald.former() = Some((7, long_ago));
        assert!(!herald.may_not_act(7), "somebody else by now");
    }
}
