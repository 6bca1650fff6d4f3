//! `lighter restart`: stop, then start.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::progress::Progress;
use super::{Target, attach, block_on, start::Start, stop};
use crate::control::Ask;
use crate::daemon::signals::GRACE_SECONDS;
use crate::machine::Platform;

#[derive(Debug, Args)]
pub struct Restart {
    /// Switch the machine off without asking.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    start: Start,
}

impl Restart {
    pub fn run(&self, target: &Target, platform: Arc<dyn Platform>, since: Instant) -> anyhow::Result<ExitCode> {
        block_on(async {
            let mut progress = Progress::new();
            if self.force {
                stop::force(target, &mut progress).await
            } else {
                let ask = Ask::Stop { grace_seconds: GRACE_SECONDS };
                attach::end(target, &ask, Duration::from_secs(300), &mut progress).await
            }
        })?;
        self.start.run(target, platform, since)
    }
}
