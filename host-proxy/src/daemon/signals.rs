//! SIGTERM, SIGINT and SIGHUP as wishes, the end of a session among them: the first shuts the guest down, the second switches
//! it off, and the daemon ends too. Called by the daemon.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::wish::{How, Stop, Wants};
use crate::sys::process::StopSignals;

/// What containers get when nobody says how long: as `docker stop`.
pub const GRACE_SECONDS: u32 = 10;

/// What containers get of `limit`, which the system has set for all of it: the guest needs as long again to write what is left.
fn grace(limit: Option<Duration>) -> u32 {
    let half = limit.and_then(|limit| u32::try_from(limit.as_secs() / 2).ok());
    half.map_or(GRACE_SECONDS, |half| half.min(GRACE_SECONDS))
}

/// Forwards signals until aborted.
pub fn forward(wants: Wants) -> io::Result<JoinHandle<()>> {
    let mut signals = StopSignals::listen()?;
    Ok(tokio::spawn(async move {
        let limit = signals.next().await;
        tracing::info!(?limit, "Asked to stop by a signal");
        wants.stop(Stop { how: How::Graceful(grace(limit)), quit: true, then: None }).await;
        loop {
            signals.next().await;
            wants.stop(Stop { how: How::Kill, quit: true, then: None }).await;
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_allows_is_shared_with_the_guest() {
        assert_eq!(grace(None), GRACE_SECONDS);
        assert_eq!(grace(Some(Duration::from_secs(4))), 2);
        assert_eq!(grace(Some(Duration::ZERO)), 0);
        assert_eq!(grace(Some(Duration::from_secs(3600))), GRACE_SECONDS);
    }
}
