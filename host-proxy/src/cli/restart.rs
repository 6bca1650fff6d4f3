//! `lighter restart`: stop, then start. A daemon of this version does both by itself, so that API clients find the endpoint
//! all the time and nobody else's call gets between; another one ends, and ours takes its place.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

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
        let done = block_on(async {
            let status = attach::status(target).await;
            if self.start.is_ordinary()
                && let Ok(Some(status)) = &status
                && attach::is_ours(status)
            {
                let grace_seconds = (!self.force).then_some(GRACE_SECONDS);
                return self.start.again(target, grace_seconds).await.map(Some);
            }
            let mut progress = Progress::new();
            if self.force {
                stop::force(target, true, &mut progress).await?;
            } else {
                let ask = Ask::Stop { grace_seconds: GRACE_SECONDS, quit: true };
                attach::end(target, &ask, stop::LIMIT, &mut progress).await?;
            }
            Ok(None)
        })?;
        match done {
            Some(code) => Ok(code),
            None => self.start.run(target, platform, since),
        }
    }
}
