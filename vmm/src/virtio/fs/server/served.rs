//! How many requests of each kind came: what a guest does with its folders is judged by this, whatever time it takes.

use std::sync::atomic::{AtomicU64, Ordering};

/// One more than the largest opcode that is told apart; all beyond are counted as 0, which no request has.
const KINDS: usize = 64;

/// Counters by opcode.
pub(super) struct Served([AtomicU64; KINDS]);

impl Default for Served {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Served {
    /// One more.
    pub fn count(&self, opcode: u32) {
        let place = usize::try_from(opcode).ok().and_then(|opcode| self.0.get(opcode)).unwrap_or(&self.0[0]);
        place.fetch_add(1, Ordering::Relaxed);
    }

    /// All that came at least once.
    pub fn counts(&self) -> Vec<(u32, u64)> {
        let all = (0..).zip(&self.0).map(|(opcode, count)| (opcode, count.load(Ordering::Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}
