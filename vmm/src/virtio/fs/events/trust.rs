//! Whether the guest is told of what happens here at all just now: only then may it believe for long what it was told.
//!
//! ```text
//!                 the agent listens               some happening waits for longer than LATE
//!   nobody told ───────────────────► told in time ⇄ behind
//!        ▲                            │   ▲
//!        │ it hangs up                │   │ nothing lost for SINCE_LOST
//!        └────────────────────────────┤   │
//!   reports end: nobody, for good ◄───┴─► losing
//! ```
//! `watch` says what is lost and what waits, the server who listens; the server's `lifetimes` asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something may wait for the guest until what is told to it is believed for a short time only.
const LATE: Duration = Duration::from_secs(1);
/// How long it takes after a loss: where there was one there are more, of which nobody has heard yet.
const SINCE_LOST: Duration = Duration::from_secs(10);

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Trust(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    listens: bool,
    over: bool,
    waiting: usize,
    /// Since when something has waited without a moment in which nothing did.
    since: Option<Instant>,
    lost: Option<Instant>,
}

/// Counts what waits for the guest for as long as it is kept.
#[derive(Debug)]
pub struct Waiting(Arc<Trust>);

impl Trust {
    /// Whether what happens is told in time at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        let state = self.lock();
        let late = |since: Instant| now.saturating_duration_since(since) >= LATE;
        let losing = |lost: Instant| now.saturating_duration_since(lost) < SINCE_LOST;
        state.listens && !state.over && !state.since.is_some_and(late) && !state.lost.is_some_and(losing)
    }

    /// Somebody in the guest listens, or does no more.
    pub fn listens(&self, listens: bool) {
        self.lock().listens = listens;
    }

    /// A happening, or a report of one, is lost.
    pub fn lost(&self, now: Instant) {
        self.lock().lost = Some(now);
    }

    /// Nothing is reported any more.
    pub fn over(&self) {
        self.lock().over = true;
    }

    /// One more waits, from `now` on until what is returned is dropped.
    pub fn one_waits(self: &Arc<Self>, now: Instant) -> Waiting {
        let mut state = self.lock();
        state.waiting += 1;
        state.since.get_or_insert(now);
        drop(state);
        Waiting(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listened_to() -> (Arc<Trust>, Instant) {
        let trust = Arc::new(Trust::default());
        assert!(!trust.holds(Instant::now()), "nobody has said that he listens");
        trust.listens(true);
        (trust, Instant::now())
    }

    #[test]
    fn it_ends_with_who_listens_and_with_the_reports() {
        let (trust, now) = listened_to();
        assert!(trust.holds(now));
        trust.listens(false);
        assert!(!trust.holds(now));
        trust.listens(true);
        assert!(trust.holds(now));
        trust.over();
        trust.listens(true);
        assert!(!trust.holds(now + 10 * SINCE_LOST));
    }

    #[test]
    fn what_waits_for_long_takes_it_away_until_nothing_waits() {
        let (trust, now) = listened_to();
        let first = trust.one_waits(now);
        assert!(trust.holds(now + LATE / 2));
        let second = trust.one_waits(now + LATE / 2);
        drop(first);
        assert!(!trust.holds(now + LATE), "something has waited all the time");
        drop(second);
        assert!(trust.holds(now + LATE));
        let third = trust.one_waits(now + 2 * LATE);
        assert!(trust.holds(now + 2 * LATE), "what waits now has not waited for long");
        drop(third);
    }

    #[test]
    fn a_loss_takes_it_away_for_a_while() {
        let (trust, now) = listened_to();
        trust.lost(now);
        assert!(!trust.holds(now) && !trust.holds(now + SINCE_LOST / 2));
        trust.lost(now + SINCE_LOST / 2);
        assert!(!trust.holds(now + SINCE_LOST));
        assert!(trust.holds(now + 2 * SINCE_LOST));
    }
}
