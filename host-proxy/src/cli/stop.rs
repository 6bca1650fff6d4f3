//! `lighter stop`: shuts the guest down, with a grace for containers, and gives the docker CLI its previous context back.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::progress::Progress;
use super::{Target, attach, block_on, output};
use crate::control::{Ask, Control, ControlError};
use crate::daemon::signals::GRACE_SECONDS;
use crate::sys::process;

/// What the daemon may take beyond the containers' grace; it has deadlines of its own within.
const LIMIT: Duration = Duration::from_secs(300);
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
}

impl Stop {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        block_on(async {
            let stopped = self.stop(target).await?;
            output::talk(if stopped { "lighter is stopped" } else { "lighter is not running" });
            attach::deactivate(target);
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn stop(&self, target: &Target) -> anyhow::Result<bool> {
        let mut progress = Progress::new();
        if self.force {
            return force(target, &mut progress).await;
        }
        let limit = LIMIT + Duration::from_secs(u64::from(self.time));
        attach::end(target, &Ask::Stop { grace_seconds: self.time }, limit, &mut progress).await
    }
}

/// Ends the daemon whatever it does; whether there was one.
pub async fn force(target: &Target, progress: &mut Progress) -> anyhow::Result<bool> {
    let Some(control) = Control::connect(&target.profile.control_socket()).await? else {
        return attach::end(target, &Ask::Kill, LIMIT_FORCED, progress).await;
    };
    let pid = control.pid();
    let answers = !matches!(control.status().await, Err(ControlError::Silent { .. }));
    if answers && attach::end(target, &Ask::Kill, LIMIT_FORCED, progress).await.is_ok() {
        return Ok(true);
    }
    let Some(pid) = pid else { bail!("The daemon does not answer, and this system does not say which process it is") };
    process::kill(pid).with_context(|| format!("Cannot end the daemon, process {pid}"))?;
    // Its lock dies with it.
    attach::end(target, &Ask::Kill, LIMIT_FORCED, progress).await?;
    Ok(true)
}
