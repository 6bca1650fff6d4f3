//! Keeps the guest's clock right while its machine runs: tells it the time after this computer has slept, after somebody has
//! set this computer's clock, after this process was held up, and every ten minutes, because two clocks never agree for
//! long. Called by `lifecycle`.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lighter_protocol::{Reply, Request, ports};
use tokio::time::MissedTickBehavior;

use super::fault::chain;
use crate::frames;
use crate::machine::Machine;

/// How often the two clocks of this computer are compared.
const LOOK: Duration = Duration::from_secs(5);
/// A look that comes so much later was held up, by sleep or by a debugger.
const LATE: Duration = Duration::from_secs(2);
/// Time of day and running time that differ by so much since the last look: somebody set the clock, or it has slept.
const JUMP: Duration = Duration::from_millis(500);
/// The guest is told at least so often.
const REGULAR: Duration = Duration::from_secs(600);
/// For the guest to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does that until it is dropped.
pub async fn keep(machine: &dyn Machine) {
    let start = Instant::now();
    let look = || Look { day: since_1970(), run: start.elapsed() };
    let mut clock = Clock { last: look(), told: Duration::ZERO, owed: false };
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !clock.is_due(look()) {
            continue;
        }
        let told = tokio::time::timeout(PATIENCE, tell(machine)).await;
        match told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => clock.told(start.elapsed()),
            Err(error) => tracing::debug!(error = chain(&error), "The guest could not be told the time; trying again"),
        }
    }
}

async fn tell(machine: &dyn Machine) -> io::Result<()> {
    let mut stream = machine.dial(ports::CONTROL).await?;
    // As late as can be.
    let now = since_1970();
    let request = Request::SetTime { unix_seconds: now.as_secs(), unix_nanos: now.subsec_nanos() };
    frames::write(&mut stream, &request).await.map_err(io::Error::other)?;
    match frames::read::<Reply>(&mut stream).await.map_err(io::Error::other)? {
        Reply::Done => Ok(()),
        other => Err(io::Error::other(format!("the agent answered {other:?}"))),
    }
}

/// A clock before 1970 is as wrong as 1970.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Time of day, since 1970.
    day: Duration,
    /// Running time; on some systems it stands still while the computer sleeps.
    run: Duration,
}

/// What was seen and said last.
struct Clock {
    last: Look,
    /// Running time when the guest was told.
    told: Duration,
    /// It has to be told, and was not.
    owed: bool,
}

impl Clock {
    /// Whether the guest has to be told the time.
    fn is_due(&mut self, now: Look) -> bool {
        let ran = now.run.saturating_sub(self.last.run);
        let expected = self.last.day + ran;
        let jumped = now.day.abs_diff(expected) > JUMP;
        let regular = now.run.saturating_sub(self.told) >= REGULAR;
        self.last = now;
        self.owed |= jumped || ran > LOOK + LATE || regular;
        self.owed
    }

    fn told(&mut self, run: Duration) {
        (self.told, self.owed) = (run, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these moments (time of day, running time), in seconds, from the start at (1000, 0) on: which are due.
    fn due(looks: &[(f64, f64)]) -> Vec<bool> {
        let look =
            |(day, run): (f64, f64)| Look { day: Duration::from_secs_f64(day), run: Duration::from_secs_f64(run) };
        let mut clock = Clock { last: look((1000.0, 0.0)), told: Duration::ZERO, owed: false };
        let mut dues = Vec::new();
        for now in looks.iter().copied().map(look) {
            dues.push(clock.is_due(now));
            if clock.owed {
                clock.told(now.run);
            }
        }
        dues
    }

    #[test]
    fn x6_nothing_is_said_while_both_clocks_agree() {
        assert_eq!(due(&[(1005.0, 5.0), (1010.2, 10.0), (1015.0, 15.1)]), [false; 3]);
    }

    #[test]
    fn x6_sleep_and_a_set_clock_are_noticed_either_way() {
        assert_eq!(due(&[(1005.0, 5.0), (5010.0, 10.0), (5015.0, 15.0)]), [false, true, false], "slept or set forward");
        assert_eq!(due(&[(905.0, 5.0), (910.0, 10.0)]), [true, false], "set back");
        assert_eq!(
            due(&[(1060.0, 60.0), (1065.0, 65.0)]),
            [true, false],
            "held up, or slept where running time goes on"
        );
    }

    #[test]
    fn x6_the_guest_is_told_once_in_ten_minutes_anyway() {
        let looks: Vec<_> = (1..=240).map(|tick| (1000.0 + 5.0 * f64::from(tick), 5.0 * f64::from(tick))).collect();
        assert_eq!(due(&looks).iter().filter(|due| **due).count(), 2);
    }

    #[test]
    fn x6_what_was_not_said_is_said_at_the_next_look() {
        let look = |day, run| Look { day: Duration::from_secs(day), run: Duration::from_secs(run) };
        let mut clock = Clock { last: look(1000, 0), told: Duration::ZERO, owed: false };
        assert!(clock.is_due(look(9005, 5)));
        assert!(clock.is_due(look(9010, 10)), "nobody told it");
        clock.told(Duration::from_secs(10));
        assert!(!clock.is_due(look(9015, 15)));
    }
}
