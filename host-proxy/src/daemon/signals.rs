//! SIGTERM, SIGINT and SIGHUP as wishes: the first shuts the guest down, the second switches it off. Called by the daemon.

use std::io;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::lifecycle::StopWish;
use crate::sys::process::StopSignals;

/// What containers get when nobody says how long: as `docker stop`.
pub const GRACE_SECONDS: u32 = 10;

/// Forwards signals until aborted.
pub fn forward(wish: mpsc::Sender<StopWish>) -> io::Result<JoinHandle<()>> {
    let mut signals = StopSignals::listen()?;
    Ok(tokio::spawn(async move {
        signals.next().await;
        tracing::info!("Asked to stop by a signal");
        // A closed or full channel means that it stops already.
        let _ = wish.try_send(StopWish::Graceful(GRACE_SECONDS));
        loop {
            signals.next().await;
            let _ = wish.try_send(StopWish::Kill);
        }
    }))
}
