//! The end that nobody asked for: PID 1 must neither return nor hang, so an error that it cannot live with and a panic both
//! tell the host why, flush the disks and reset the machine. Called by `main` and by threads that the guest cannot do without.

use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use lighter_protocol::Event;
use rustix::system::{RebootCommand, reboot};

use crate::host::Host;

/// The last flush must not hang on a dead disk.
const LAST_FLUSH: Duration = Duration::from_secs(10);
static HOST: OnceLock<Host> = OnceLock::new();

/// From here on a panic ends the machine.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let reason = format!("the guest agent failed: {panic}");
        give_up("agent", &reason);
    }));
}

/// The host can be told from here on.
pub fn tell(host: Host) {
    let _told_before = HOST.set(host);
}

/// Reports `error` with its causes as the failure of `stage` and resets the machine.
pub fn end(stage: &str, error: &dyn std::error::Error) -> ! {
    give_up(stage, &chain(error))
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn give_up(stage: &str, reason: &str) -> ! {
    // By hand and not by `tracing`: the panic may have come from there.
    eprintln!("agent: {stage} failed: {reason}");
    if let Some(host) = HOST.get().cloned() {
        let event = Event::Failed { stage: stage.to_owned(), reason: reason.to_owned() };
        within(LAST_FLUSH, move || host.report(&event));
    }
    within(LAST_FLUSH, rustix::fs::sync);
    reset()
}

/// Runs `work` on its own thread and goes on when it is done or `time` has passed.
pub fn within(time: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, waiting) = channel();
    let worker = move || {
        work();
        let _went_on_already = done.send(());
    };
    if thread::Builder::new().spawn(worker).is_ok() {
        let _done_or_late = waiting.recv_timeout(time);
    }
}

/// Resets the machine: the VMM sees it as the end (there is no ACPI to power off by).
pub fn reset() -> ! {
    let error = reboot(RebootCommand::Restart);
    // Only outside a machine, in a test: PID 1 of a real one does not get here.
    eprintln!("agent: reset failed: {error:?}");
    std::process::abort()
}
