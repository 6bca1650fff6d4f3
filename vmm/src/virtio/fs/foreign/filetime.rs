//! Times of Windows: hundreds of nanoseconds since 1601 UTC.

use crate::virtio::fs::host::Time;

/// From 1601 to 1970, in seconds.
const EPOCH: i64 = 11_644_473_600;
/// Units in a second.
const SECOND: i64 = 10_000_000;

/// A time of Windows as Linux has it.
pub fn from_filetime(time: i64) -> Time {
    Time { seconds: time.div_euclid(SECOND) - EPOCH, nanos: time.rem_euclid(SECOND) as u32 * 100 }
}

/// And back. What Windows cannot say becomes the nearest that it can: 0 and less mean something else there.
pub fn to_filetime(time: Time) -> i64 {
    let seconds = time.seconds.saturating_add(EPOCH);
    seconds.saturating_mul(SECOND).saturating_add(i64::from(time.nanos / 100)).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_epochs_are_where_they_are() {
        assert_eq!(from_filetime(116_444_736_000_000_000), Time::default());
        assert_eq!(to_filetime(Time::default()), 116_444_736_000_000_000);
        assert_eq!(from_filetime(116_444_735_999_999_999), Time { seconds: -1, nanos: 999_999_900 });
        for (time, nearest) in [(i64::MIN, 1), (-EPOCH, 1), (i64::MAX, i64::MAX)] {
            assert_eq!(to_filetime(Time { seconds: time, nanos: 0 }), nearest);
        }
    }

    proptest! {
        #[test]
        fn what_windows_says_is_said_back(time in 1..=i64::MAX) {
            prop_assert_eq!(to_filetime(from_filetime(time)), time);
        }

        #[test]
        fn no_time_makes_it_panic(seconds: i64, nanos in 0..1_000_000_000u32) {
            let there = to_filetime(Time { seconds, nanos });
            prop_assert!(there > 0);
        }
    }
}
