//! Keeps a guest from filling the host's log: a warning that it can cause at will goes through once in a while. Used by
//! devices and by the host's network, one limit per kind of warning.

use std::time::{Duration, Instant};

/// At most one warning in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one warning through per interval and counts the others.
#[derive(Debug, Default)]
pub struct RateLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// `Some(number of warnings held back since the last one)` if this one may be logged.
    pub fn allow(&mut self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_an_interval_goes_through_and_the_others_are_counted() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        assert_eq!(limit.allow_at(start), Some(0));
        assert_eq!(limit.allow_at(start), None);
        assert_eq!(limit.allow_at(start + INTERVAL / 2), None);
        assert_eq!(limit.allow_at(start + INTERVAL), Some(2));
        assert_eq!(limit.allow_at(start + INTERVAL * 2), Some(0));
    }
}
