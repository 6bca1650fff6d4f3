//! `lighter daemon`, hidden: what `lighter start` runs in the background, and a service manager at login. Says on stdout that it listens, or why not; then
//! that pipe is closed, and everything else goes to the log.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::{Target, start::Sizes};
use crate::daemon::{self, Begin, fault::chain, log::Log};
use crate::machine::Platform;
use crate::sys::endpoint::Inherited;
use crate::sys::process;

/// The line that tells the starter that the sockets are there.
pub const LISTENING: &str = "listening";

#[derive(Debug, Args)]
pub struct Daemon {
    #[command(flatten)]
    sizes: Sizes,
    /// Start no machine before somebody wants one.
    #[arg(long)]
    asleep: bool,
}

/// A daemon's runtime: devices and API clients share two threads, vCPUs and file I/O have their own.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("Cannot start the runtime")
}

impl Daemon {
    pub fn run(&self, target: &Target, platform: Arc<dyn Platform>, since: Instant) -> anyhow::Result<ExitCode> {
        // Before anything is opened that could have one of their numbers.
        let inherited = Inherited::take().context("Cannot use what the service manager passed");
        process::detach();
        process::raise_file_limit();
        let begin = if self.asleep { Begin::Asleep } else { Begin::Awake(self.sizes.wishes()) };
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let log = Log::open(&target.profile.daemon_log());
            let ready = || {
                let log = log.context("Cannot open the daemon's log")?;
                let daemon = daemon::Daemon::listen(target.profile.clone(), begin, &mut inherited?, since)?;
                anyhow::Ok((daemon, log))
            };
            let (daemon, log) = match ready() {
                Ok(ready) => ready,
                Err(error) => {
                    say(&format!("{error:#}").replace('\n', " "));
                    return Err(error);
                }
            };
            say(LISTENING);
            process::release_stdout().context("Cannot let go of standard output")?;
            let ended = daemon.run(platform).await;
            if let Err(error) = &ended {
                tracing::error!(error = chain(error), "The daemon ends");
            }
            log.settle();
            ended.map_err(anyhow::Error::from)
        });
        // A blocked worker must not keep a daemon alive that has let go of its lock.
        runtime.shutdown_background();
        result.map(|()| ExitCode::SUCCESS)
    }
}

/// The starter may be gone; the machine is wanted all the same.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
