//! The clean end: containers, engine, every other process, data disk, then reset. Called by `control`.
//!
//! ```text
//!   Running ──Shutdown──▶ engine stops ──▶ processes end ──▶ data disk unmounted ──▶ Event::Stopped ──▶ reset
//! ```
//! Each arrow has a deadline; what does not end in time is killed, so the reset always comes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lighter_protocol::{Event, paths};
use rustix::process::{Pid, Signal, getpid, kill_process_group};

use crate::Guest;
use crate::fatal;
use crate::mounts;
use crate::reaper::Reaper;

/// For processes outside containers, after SIGTERM and after SIGKILL.
const OTHERS: Duration = Duration::from_secs(2);
/// For unmounting: what is dirty has to reach the host's disk.
const UNMOUNT: Duration = Duration::from_secs(30);
/// The longest grace that containers get, whatever the host says.
const LONGEST_GRACE: u32 = 600;

static BEGUN: AtomicBool = AtomicBool::new(false);

/// Stops everything and resets. A second request changes nothing: the first one is under way.
pub fn shut_down(guest: &Guest, grace_seconds: u32) {
    if BEGUN.swap(true, Ordering::AcqRel) {
        return;
    }
    let started = Instant::now();
    tracing::info!(grace_seconds, "shutting down");
    guest.engine.stop(Duration::from_secs(grace_seconds.min(LONGEST_GRACE).into()));
    end_processes(&guest.reaper);
    let (done, unmounted) = std::sync::mpsc::channel();
    fatal::within(UNMOUNT, move || {
        // What programs wrote to folders of the host through mapped memory reaches them here, too.
        rustix::fs::sync();
        let _nobody_waits_any_more = done.send(mounts::release(Path::new(paths::DATA)));
    });
    match unmounted.try_recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "data disk could not be unmounted; it was flushed"),
        Err(_) => tracing::warn!("data disk was not unmounted in time"),
    }
    tracing::info!(milliseconds = started.elapsed().as_millis(), "stopped");
    guest.host.report(&Event::Stopped);
    fatal::reset()
}

/// Ends every process but this one: nothing may hold the data disk after it.
fn end_processes(reaper: &Reaper) {
    // kill(-1) means everybody only when PID 1 says it; anywhere else it would end processes of others.
    if getpid() != Pid::INIT {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        // Its process group number negated: kill(2) reads -1 as "everybody but me".
        let _nobody_left = kill_process_group(Pid::INIT, signal);
        if reaper.childless_within(OTHERS) {
            return;
        }
    }
    tracing::warn!("processes outlived SIGKILL");
}
