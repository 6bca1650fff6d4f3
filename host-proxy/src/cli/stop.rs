//! `lighter stop`: shuts the guest down, with a grace for containers. The endpoint stays, and with it the docker context, so
//! that the next docker command starts the machine again; `--quit` ends both and gives the docker CLI its previous context back.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::progress::Progress;
use super::{Target, attach, block_on, output};
use crate::control::{Ask, Control, ControlError, Phase};
use crate::daemon::signals::GRACE_SECONDS;
use crate::lock::{self, Lock};
use crate::sys::process;

/// What the daemon may take beyond the containers' grace; it has deadlines of its own within.
pub const LIMIT: Duration = Duration::from_secs(300);
/// For a daemon that is asked not to ask the guest.
const LIMIT_FORCED: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub struct Stop {
    /// Switch the machine off without asking; containers may lose what they have not written.
    #[arg(short, long)]
    force: bool,
    /// Seconds that containers get to end by themselves.
    #[arg(short, long, default_value_t = GRACE_SECONDS, value_parser = clap::value_parser!(u32).range(..=3600))]
    time: u32,
    /// End lighter altogether: docker commands find no endpoint until the next `lighter start`.
    #[arg(short, long)]
    quit: bool,
}

impl Stop {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        block_on(async {
            let stopped = self.stop(target).await?;
            output::talk(match (stopped, self.quit) {
                (false, _) => "lighter is not running",
                (true, true) => "lighter is stopped",
                (true, false) => "lighter is stopped; the next docker command starts it again",
            });
            if self.quit {
                attach::deactivate(target);
                super::context::remind(target);
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Whether there was anything to stop.
    async fn stop(&self, target: &Target) -> anyhow::Result<bool> {
        let mut progress = Progress::new();
        if self.force {
            return force(target, self.quit, &mut progress).await;
        }
        let limit = LIMIT + Duration::from_secs(u64::from(self.time));
        let ask = Ask::Stop { grace_seconds: self.time, quit: self.quit };
        let asleep = attach::status(target).await.ok().flatten().is_some_and(|status| status.state == Phase::Stopped);
        if self.quit {
            return Ok(attach::end(target, &ask, limit, &mut progress).await? && !asleep);
        }
        Ok(!asleep && attach::stop(target, &ask, limit, &mut progress).await?)
    }
}

/// Switches the machine off, and ends a daemon that does not answer whatever it does; whether there was one.
pub async fn force(target: &Target, quit: bool, progress: &mut Progress) -> anyhow::Result<bool> {
    let ask = Ask::Kill { quit };
    let lock = target.profile.daemon_lock();
    let silent = match Control::connect(&target.profile.control_socket()).await? {
        Some(control) => matches!(control.status().await, Err(ControlError::Silent { .. })),
        // Perhaps somebody removed its socket: who holds the lock can still be found.
        None => false,
    };
    let done = match (silent, quit) {
        (true, _) => Err(anyhow!("The daemon does not answer")),
        (false, true) => attach::end(target, &ask, LIMIT_FORCED, progress).await,
        (false, false) => attach::stop(target, &ask, LIMIT_FORCED, progress).await,
    };
    let Err(error) = done else { return done };
    // Not the process at the other end of the socket, which may be the service manager that made it. Only while the lock is
    // held is its signature that of a process which lives.
    let pid = match Lock::acquire(&lock, Duration::ZERO) {
        Ok(None) => lock::signature(&lock),
        _ => None,
    };
    let Some(pid) = pid else { return Err(error) };
    process::kill(pid).with_context(|| format!("Cannot end the daemon, process {pid}"))?;
    // Its lock dies with it.
    attach::end(target, &Ask::Kill { quit: true }, LIMIT_FORCED, progress).await?;
    Ok(true)
}
