//! `lighter start`: finds or spawns the daemon, has it start the machine, shows the stages, makes the docker context current,
//! keeps the flags.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::progress::Progress;
use super::{Target, attach, block_on, output, proxies, status, threads};
use crate::control::{Ask, Control, Phase, Status};
use crate::daemon::{Begin, Daemon, disk, log::Log};
use crate::lock::{self, Lock};
use crate::machine::Platform;
use crate::settings::proxy::ProxyWords;
use crate::settings::{self, Engine, Host, Settings, Wishes, mounts};
use crate::shares::Shares;
use crate::sys::endpoint::Inherited;
use crate::sys::process::{self, StopSignals};
use crate::sys::terminal::in_this_shell;

/// How long another `lighter start` may take to spawn its daemon.
const TURN: Duration = Duration::from_secs(60);
/// What an interrupted program exits with by custom: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
pub struct Start {
    #[command(flatten)]
    sizes: Sizes,
    /// Stay in the foreground until Ctrl-C.
    #[arg(short, long)]
    foreground: bool,
    /// Only provide the endpoint: the first docker command starts the machine.
    #[arg(long, conflicts_with_all = ["foreground", "json"])]
    asleep: bool,
    /// Make the docker context the current one.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    activate: bool,
    /// Print the state as JSON when it runs.
    #[arg(long)]
    json: bool,
}

/// What the machine is made of; kept in config.toml.
#[derive(Debug, Args, Clone)]
pub struct Sizes {
    /// Number of CPUs.
    #[arg(short, long, allow_negative_numbers = true)]
    cpus: Option<i64>,
    /// Memory in GiB.
    #[arg(short, long, value_name = "GiB", allow_negative_numbers = true)]
    memory: Option<f64>,
    /// Size of the data disk in GiB; it can grow but never shrink.
    #[arg(short, long, value_name = "GiB", allow_negative_numbers = true)]
    disk: Option<f64>,
    /// Who runs the CPUs.
    #[arg(long)]
    engine: Option<Engine>,
    /// A folder that containers may see, and with `:w` write; give it again for more, `none` for no folder at all.
    #[arg(long = "mount", value_name = "PATH[:w]", value_parser = mounts::flag, value_hint = clap::ValueHint::DirPath)]
    mounts: Vec<String>,
}

impl Sizes {
    /// As wishes.
    pub fn wishes(&self) -> Wishes {
        Wishes {
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
            engine: self.engine,
            mounts: mounts::of_flags(&self.mounts),
            ..Wishes::default()
        }
    }

    /// As arguments for another process.
    pub fn arguments(wishes: &Wishes) -> Vec<String> {
        [
            wishes.cpus.map(|cpus| format!("--cpus={cpus}")),
            wishes.memory.map(|memory| format!("--memory={memory}")),
            wishes.disk.map(|disk| format!("--disk={disk}")),
            wishes.engine.map(|engine| format!("--engine={}", engine.name())),
        ]
        .into_iter()
        .flatten()
        .chain(wishes.mounts.as_deref().map(mounts::to_flags).unwrap_or_default())
        .collect()
    }
}

/// What an interrupted start takes back.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// The daemon, which it spawned.
    Spawned,
    /// The machine of a daemon that was there.
    Woken,
    /// Nothing: somebody else wants the machine.
    Found,
}

impl Start {
    pub fn run(&self, target: &Target, platform: Arc<dyn Platform>, since: Instant) -> anyhow::Result<ExitCode> {
        match (self.foreground, self.asleep) {
            (true, _) => self.foreground(target, platform, since),
            (_, true) => block_on(self.asleep(target)),
            _ => block_on(self.background(target)),
        }
    }

    /// Whether a daemon that is there can do it: not in this process, and with a machine at the end.
    pub fn is_ordinary(&self) -> bool {
        !self.foreground && !self.asleep
    }

    async fn background(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let wishes = self.sizes.wishes();
        self.check(target, &wishes)?;
        let mut progress = Progress::new();
        let turn = take_turn(target)?;
        let found = self.find(target, &mut progress).await?;
        let ask = match &found {
            Some(status) if status.state == Phase::Running => {
                drop(turn);
                self.keep(target, &wishes);
                return self.already(target, status, &wishes);
            }
            Some(_) => Ask::Start { wishes: wishes.clone(), environment: Some(ProxyWords::from_env()) },
            None => {
                threads::room()?;
                attach::spawn(target, &Begin::Awake(wishes.clone())).await?;
                Ask::Watch
            }
        };
        drop(turn);
        let origin = match found.map(|status| status.state) {
            None => Origin::Spawned,
            Some(Phase::Starting) => Origin::Found,
            Some(_) => Origin::Woken,
        };
        self.follow(target, &ask, origin, &wishes, progress).await
    }

    /// Stops and starts a machine within its daemon.
    pub async fn again(&self, target: &Target, grace_seconds: Option<u32>) -> anyhow::Result<ExitCode> {
        let wishes = self.sizes.wishes();
        self.check(target, &wishes)?;
        let ask = Ask::Restart { grace_seconds, wishes: wishes.clone(), environment: Some(ProxyWords::from_env()) };
        self.follow(target, &ask, Origin::Woken, &wishes, Progress::new()).await
    }

    /// Shows how the start goes, to its end.
    async fn follow(
        &self,
        target: &Target,
        ask: &Ask,
        origin: Origin,
        wishes: &Wishes,
        mut progress: Progress,
    ) -> anyhow::Result<ExitCode> {
        let mut signals = StopSignals::listen()?;
        let status = tokio::select! {
            status = attach::watch(target, ask, &mut progress) => status?,
            _ = signals.next() => return interrupted(target, origin, &mut progress).await,
        };
        match status.state {
            Phase::Running => (),
            Phase::Stopped => bail!("It was stopped while it was starting: `lighter start` tries again"),
            _ => bail!("{}", status.reason.unwrap_or_else(|| "The machine is broken".to_owned())),
        }
        self.keep(target, wishes);
        let seconds = progress.seconds();
        drop(progress);
        if origin == Origin::Found && !wishes.is_empty() {
            output::talk("It was already starting, so the new settings take effect with `lighter restart`");
        }
        self.done(target, &status, seconds, origin)
    }

    /// Provides the endpoint and no machine.
    async fn asleep(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let wishes = self.sizes.wishes();
        self.check(target, &wishes)?;
        let turn = take_turn(target)?;
        let found = self.find(target, &mut Progress::new()).await?;
        // There is no start to try them first.
        self.keep(target, &wishes);
        let made = found.is_none();
        match found {
            Some(status) => output::talk(&format!("lighter is there already, and {}", status.state.name())),
            None => {
                threads::room()?;
                attach::spawn(target, &Begin::Asleep).await?;
                output::talk("lighter is there; the first docker command starts the machine");
            }
        }
        drop(turn);
        self.invite(target, &target.profile.docker_host());
        if self.activate && made {
            proxies::give(target);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A daemon that can be asked to start; others are ended.
    async fn find(&self, target: &Target, progress: &mut Progress) -> anyhow::Result<Option<Status>> {
        let status =
            attach::status(target).await.context("`lighter stop --force` ends a daemon that does not answer")?;
        let Some(status) = status else { return Ok(None) };
        match status.state {
            Phase::Running => return Ok(Some(status)),
            Phase::Starting => {
                progress.say("lighter is already starting, waiting for it");
                return Ok(Some(status));
            }
            Phase::Stopped | Phase::Stopping | Phase::Broken => (),
        }
        if attach::is_ours(&status) && !self.foreground {
            return Ok(Some(status));
        }
        let ask = Ask::Stop { grace_seconds: 0, quit: true };
        attach::end(target, &ask, Duration::from_secs(240), progress).await?;
        Ok(None)
    }

    /// Refuses what cannot be before anything happens, and warns.
    fn check(&self, target: &Target, wishes: &Wishes) -> anyhow::Result<()> {
        let config = target.profile.config();
        // It would be kept, and every later start would fail.
        if let Some(engine) = wishes.engine.and_then(Engine::kind) {
            lighter_vmm::hv::offered(engine)?;
        }
        target.profile.prepare()?;
        let settings = Settings::new(&wishes.over(&settings::load(&config)?), Host::here(), &config)?;
        // Kept as well, so asked before anything is.
        Shares::from_settings(&settings, target.home.root())?;
        if let Some(bytes) = settings.disk_bytes {
            disk::refuse_shrink(&target.profile.data_disk(), bytes)?;
        }
        if let Some(warning) = settings.memory_warning(Host::here()) {
            output::talk(&format!("warning: {warning}"));
        }
        proxies::check(&settings)
    }

    /// Writes flags that worked into the settings. The machine runs whether that works or not.
    fn keep(&self, target: &Target, wishes: &Wishes) {
        let config = target.profile.config();
        if wishes.is_empty() && config.exists() {
            return;
        }
        if let Err(error) = settings::save(&config, wishes) {
            output::talk(&format!("warning: the flags are not kept: {:#}", anyhow::Error::new(error)));
        }
    }

    fn already(&self, target: &Target, status: &Status, wishes: &Wishes) -> anyhow::Result<ExitCode> {
        output::talk("lighter is already running");
        if !wishes.is_empty() {
            output::talk("The new settings take effect with `lighter restart`");
        }
        if self.activate {
            attach::activate(target);
        }
        self.print(target, status)
    }

    fn done(&self, target: &Target, status: &Status, seconds: f32, origin: Origin) -> anyhow::Result<ExitCode> {
        let engine = status.engine.as_deref().unwrap_or("unknown");
        output::talk(&format!("lighter is running ({engine} engine, {seconds:.1} s)"));
        self.invite(target, &status.docker_host);
        // Whoever started one that was found has done it in an environment of their own.
        if self.activate && origin != Origin::Found {
            proxies::give(target);
        }
        self.print(target, status)
    }

    /// How to use it.
    fn invite(&self, target: &Target, docker_host: &str) {
        output::talk(&format!("  docker host     {docker_host}"));
        let profile = match target.profile.name().as_str() {
            "default" => String::new(),
            name => format!(" -p {name}"),
        };
        if self.activate && attach::activate(target) {
            output::talk(&format!(
                "  docker context  {}, which is the current one: try `docker ps`",
                target.profile.name().context()
            ));
        } else {
            output::talk(&format!("  in this shell   {}", in_this_shell(&profile)));
        }
    }

    fn print(&self, target: &Target, status: &Status) -> anyhow::Result<ExitCode> {
        if !self.json {
            return Ok(ExitCode::SUCCESS);
        }
        output::data(&status::json(&status::beside(target, status.clone()))?)
    }

    fn foreground(&self, target: &Target, platform: Arc<dyn Platform>, since: Instant) -> anyhow::Result<ExitCode> {
        threads::room()?;
        let wishes = self.sizes.wishes();
        self.check(target, &wishes)?;
        process::raise_file_limit();
        let runtime = super::daemon::runtime()?;
        let result = runtime.block_on(async {
            let turn = take_turn(target)?;
            if let Some(status) = self.find(target, &mut Progress::new()).await? {
                return self.already(target, &status, &Wishes::default());
            }
            let log = Log::open(&target.profile.daemon_log()).context("Cannot open the daemon's log")?;
            let begin = Begin::Awake(wishes.clone());
            let daemon = Daemon::listen(target.profile.clone(), begin, &mut Inherited::default(), since)?;
            drop(turn);
            let life = daemon.run(platform);
            tokio::pin!(life);
            let ended = tokio::select! {
                ended = &mut life => ended,
                result = self.accompany(target, &wishes) => {
                    result?;
                    life.await
                }
            };
            attach::deactivate(target);
            log.settle();
            ended.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        });
        runtime.shutdown_background();
        result
    }

    /// What a background start does, for a daemon in this process.
    async fn accompany(&self, target: &Target, wishes: &Wishes) -> anyhow::Result<()> {
        let mut progress = Progress::new();
        let status = attach::watch(target, &Ask::Watch, &mut progress).await?;
        if status.state == Phase::Running {
            self.keep(target, wishes);
            let seconds = progress.seconds();
            drop(progress);
            self.done(target, &status, seconds, Origin::Spawned)?;
        }
        Ok(())
    }
}

/// One start at a time between looking for a daemon and having one that listens.
fn take_turn(target: &Target) -> anyhow::Result<Lock> {
    let path = target.profile.start_lock();
    let lock = Lock::acquire(&path, TURN).with_context(|| lock::refused(&path))?;
    lock.context(
        "Another `lighter start` or `lighter delete` of this profile has not come to an end: wait for it, or end it",
    )
}

/// Ctrl-C: whoever brought it up takes it back.
async fn interrupted(target: &Target, origin: Origin, progress: &mut Progress) -> anyhow::Result<ExitCode> {
    if origin != Origin::Found {
        progress.say("Stopping the start; Ctrl-C again leaves it to itself");
        if let Some(mut control) = Control::connect(&target.profile.control_socket()).await? {
            control.ask(&Ask::Stop { grace_seconds: 0, quit: origin == Origin::Spawned }).await?;
            let mut signals = StopSignals::listen()?;
            tokio::select! {
                _ = async { while control.answer().await.is_ok() {} } => (),
                _ = signals.next() => (),
            }
        }
    }
    Ok(ExitCode::from(INTERRUPTED))
}
