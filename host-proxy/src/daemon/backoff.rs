//! How soon an API call may try again what has just failed, so that a program that asks every second does not boot a broken
//! machine every second. Called by `keeper`; a person who says `lighter start` or `lighter stop` is not held up by it.
//!
//! A machine that did not start, or died young, is a failure. After one failure the very next call tries again. From the
//! second in a row on, calls are refused for 5 s, 10 s, 20 s and so on up to five minutes, each time counted from the failure.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the second failure in a row; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);
/// A machine that lived so long was no failure, however it ended.
const OLD: Duration = Duration::from_secs(300);

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// A machine failed at `now`, after having run for `lived`.
    pub fn failed(&mut self, now: Instant, lived: Duration) {
        if lived >= OLD {
            *self = Backoff::default();
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(2).min(16);
        let pause = if self.failures < 2 { Duration::ZERO } else { (FIRST * (1 << doublings)).min(LONGEST) };
        self.until = Some(now + pause);
    }

    /// Somebody took care of it, or it ended as it should.
    pub fn forgive(&mut self) {
        *self = Backoff::default();
    }

    /// How many times it failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long a call at `now` is too early; `None` if it may try.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_may_be_tried_again_at_once_and_pauses_grow_to_five_minutes() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            backoff.failed(now, Duration::ZERO);
            pauses.push(backoff.wait(now).unwrap_or_default().as_secs());
        }
        assert_eq!(pauses[..9], [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        assert!(pauses[9..].iter().all(|pause| *pause == 300));
        assert_eq!(backoff.wait(now + LONGEST), None, "a pause has an end");
        assert_eq!(backoff.failures(), 40);
    }

    #[test]
    fn a_machine_that_lived_long_or_a_person_ends_the_row() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        (0..5).for_each(|_| backoff.failed(now, Duration::from_secs(3)));
        assert!(backoff.wait(now).is_some());
        backoff.failed(now, OLD);
        assert_eq!((backoff.failures(), backoff.wait(now)), (1, None));
        backoff.failed(now, Duration::ZERO);
        backoff.forgive();
        assert_eq!((backoff.failures(), backoff.wait(now)), (0, None));
    }
}
