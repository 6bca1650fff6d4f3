//! SIGTERM, SIGINT and SIGHUP as wishes, the end of a session among them: the first shuts the guest down, the second switches
//! it off, and the daemon ends too. Called by the daemon.

use std::io;

use tokio::task::JoinHandle;

use super::wish::{How, Stop, Wants};
use crate::sys::process::StopSignals;

/// What containers get when nobody says how long: as `docker stop`.
pub const GRACE_SECONDS: u32 = 10;

/// Forwards signals until aborted.
pub fn forward(wants: Wants) -> io::Result<JoinHandle<()>> {
    let mut signals = StopSignals::listen()?;
    Ok(tokio::spawn(async move {
        signals.next().await;
        tracing::info!("Asked to stop by a signal");
        wants.stop(Stop { how: How::Graceful(GRACE_SECONDS), quit: true, then: None }).await;
        loop {
            signals.next().await;
            wants.stop(Stop { how: How::Kill, quit: true, then: None }).await;
        }
    }))
}
