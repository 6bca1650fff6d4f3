//! Memory of long frames that are done with, kept for the next ones: fresh memory would be zeroed before it is written, which
//! costs half as much as the frame's copy, and more where the system has to find it first. One for each link, shared by both
//! its ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LONGEST_FRAME;

/// Shorter frames are cheap to make, and would keep a long one's memory from it.
const LONG: usize = 32 << 10;
/// Most frames that are kept, so at most 1 MiB: what one direction of a link has under way when it is busy.
const MOST: usize = 16;

/// The frames. Cheap to clone.
#[derive(Clone, Default)]
pub struct Spares(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spares {
    /// So many bytes, with anything in them: whoever takes them for a frame writes every one.
    pub fn take(&self, length: usize) -> Vec<u8> {
        if length < LONG {
            return vec![0; length];
        }
        let spare = self.lock().pop();
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(LONGEST_FRAME.max(length)));
        bytes.resize(length, 0);
        bytes
    }

    /// Keeps a frame's memory if it is worth it.
    pub fn put(&self, bytes: Vec<u8>) {
        let mut spares = self.lock();
        if bytes.len() >= LONG && spares.len() < MOST {
            spares.push(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A heap of memory has no broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_frames_are_used_again_and_few_are_kept() {
        let spares = Spares::default();
        let long = spares.take(LONGEST_FRAME);
        let place = long.as_ptr();
        spares.put(long);
        let again = spares.take(LONG);
        assert_eq!((again.as_ptr(), again.len()), (place, LONG));
        for _ in 0..2 * MOST {
            spares.put(vec![7; LONG]);
        }
        assert_eq!(spares.lock().len(), MOST);
        assert_eq!(spares.take(LONG + 1).len(), LONG + 1);
    }

    #[test]
    fn short_frames_are_new_and_not_kept() {
        let spares = Spares::default();
        spares.put(vec![7; LONG - 1]);
        assert!(spares.lock().is_empty());
        assert_eq!(spares.take(3), [0; 3]);
    }
}
