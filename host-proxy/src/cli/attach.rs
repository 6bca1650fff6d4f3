//! Finding, watching, ending and spawning a profile's daemon. Called by the verbs that start and stop.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::progress::Progress;
use super::{Target, autostart, output};
use crate::control::{Answer, Ask, Control, ControlError, Phase, Status};
use crate::daemon::Begin;
use crate::frames::FrameError;
use crate::lock::{self, Lock};
use crate::sys::{files, process};

/// From its spawning until a daemon listens: it only takes locks and binds sockets meanwhile, but a computer that is busy or
/// looks a program over before it first runs takes its time. One that ends is noticed at once.
const LISTENING: Duration = Duration::from_secs(90);
/// How long a daemon that said goodbye may take to be gone.
const GOING: Duration = Duration::from_secs(20);

/// What the profile's daemon says of itself; `None` if there is none.
pub async fn status(target: &Target) -> Result<Option<Status>, ControlError> {
    match Control::connect(&target.profile.control_socket()).await? {
        None => Ok(None),
        Some(control) => match control.status().await {
            Ok(status) => Ok(Some(status)),
            // It ended between our question and its answer.
            Err(ControlError::Frame(_)) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

/// Whether the daemon is of this program's version, so that it understands and does what this program would.
pub fn is_ours(status: &Status) -> bool {
    status.versions.get("lighter").is_some_and(|version| version == env!("CARGO_PKG_VERSION"))
}

/// Asks for a start, or only to hear of one, and shows its stages until the machine runs or does not start.
pub async fn watch(target: &Target, ask: &Ask, progress: &mut Progress) -> anyhow::Result<Status> {
    let log = target.profile.daemon_log();
    let gone = || format!("The daemon ended unexpectedly, see {}", log.display());
    let mut control = Control::connect(&target.profile.control_socket()).await?.with_context(gone)?;
    control.ask(ask).await.with_context(gone)?;
    loop {
        match control.answer().await.with_context(gone)? {
            Answer::Stage(stage) => progress.stage(&stage),
            Answer::Status(status) => return Ok(status),
            Answer::Stopped => bail!(gone()),
            Answer::Ports { .. } => return Err(ControlError::Unexpected.into()),
        }
    }
}

/// Asks for the machine's end and shows the stages until it is off; whether there was a daemon.
pub async fn stop(target: &Target, ask: &Ask, limit: Duration, progress: &mut Progress) -> anyhow::Result<bool> {
    match Control::connect(&target.profile.control_socket()).await? {
        Some(control) => farewell(target, control, ask, limit, progress).await.map(|()| true),
        None => Ok(false),
    }
}

async fn farewell(
    target: &Target,
    mut control: Control,
    ask: &Ask,
    limit: Duration,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let farewell = async {
        control.ask(ask).await?;
        loop {
            match control.answer().await? {
                Answer::Stage(stage) => progress.stage(&stage),
                Answer::Stopped | Answer::Status(_) => return Ok::<(), ControlError>(()),
                Answer::Ports { .. } => return Err(ControlError::Unexpected),
            }
        }
    };
    match tokio::time::timeout(limit, farewell).await {
        Ok(Ok(())) => Ok(()),
        // It ended faster than it could say so; or it is of another version, did not understand, and works on.
        Ok(Err(ControlError::Frame(FrameError::Closed | FrameError::Io(_)))) => match status(target).await? {
            Some(status) if matches!(status.state, Phase::Running | Phase::Starting) => {
                Err(ControlError::Unexpected.into())
            }
            _ => Ok(()),
        },
        Ok(Err(error)) => Err(error).context("`lighter stop --force` ends a daemon that cannot be talked to"),
        Err(_) => bail!("The daemon did not stop within {} s: `lighter stop --force` ends it", limit.as_secs()),
    }
}

/// [`stop`] with an `ask` that ends the daemon too; returns when that is gone.
pub async fn end(target: &Target, ask: &Ask, limit: Duration, progress: &mut Progress) -> anyhow::Result<bool> {
    let control = Control::connect(&target.profile.control_socket()).await?;
    // Only now, because the socket may go with it; and not later, because the next caller would start it again.
    autostart::release(target);
    let existed = control.is_some();
    if let Some(control) = control {
        farewell(target, control, ask, limit, progress).await?;
    }
    if !target.profile.exists() {
        return Ok(existed);
    }
    let lock = target.profile.daemon_lock();
    match Lock::acquire(&lock, GOING).with_context(|| lock::refused(&lock))? {
        Some(_) => Ok(existed),
        None => bail!("The daemon still holds {}: `lighter stop --force` ends it", lock.display()),
    }
}

/// Starts a daemon in the background and returns when it listens.
pub async fn spawn(target: &Target, begin: &Begin) -> anyhow::Result<()> {
    let log_path = target.profile.daemon_log();
    let log = files::owner_only().create(true).append(true).open(&log_path);
    let log = log.with_context(|| {
        let path = log_path.display();
        format!("Cannot write {path}: make it writable, or set LIGHTER_HOME to a directory of yours elsewhere")
    })?;
    let mut command = Command::new(std::env::current_exe().context("Cannot find this program's own file")?);
    command.arg("daemon").arg("--profile").arg(target.profile.name().as_str());
    match begin {
        Begin::Awake(wishes) => command.args(super::start::Sizes::arguments(wishes)),
        Begin::Asleep => command.arg("--asleep"),
    };
    // The daemon keeps nobody's directory busy; what the environment says of paths stays true all the same.
    command.env("LIGHTER_HOME", target.home.root()).current_dir(target.home.root());
    for name in ["LIGHTER_CACHE", "LIGHTER_TIMELINE"] {
        if let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) {
            command.env(name, std::path::absolute(path)?);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    process::in_background(&mut command);
    let mut child = command.spawn().context("Cannot start the daemon")?;
    let stdout = child.stdout.take().expect("it was asked to be a pipe");
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    let see = || format!("see {}", log_path.display());
    match tokio::time::timeout(LISTENING, line).await {
        Ok(line) => match line??.trim_end() {
            super::daemon::LISTENING => Ok(()),
            "" => bail!("The daemon ended at once, {}", see()),
            failure => bail!("{failure}"),
        },
        Err(_) => {
            // It is ours, and it is of no use.
            let _ = child.kill();
            bail!("The daemon did not listen within {} s, {}", LISTENING.as_secs(), see())
        }
    }
}

/// Makes the profile's docker context the current one, or says why that did not work; it never fails a start.
pub fn activate(target: &Target) -> bool {
    let result = crate::context::Context::of(&target.profile).and_then(|context| {
        context.activate()?;
        Ok(context.overrides())
    });
    match result {
        Ok(None) => true,
        Ok(Some(variable)) => {
            output::talk(&format!(
                "warning: the docker CLI will not use this machine because {variable} is set: unset it"
            ));
            false
        }
        Err(error) => {
            output::talk(&format!("warning: {:#}", anyhow::Error::new(error)));
            false
        }
    }
}

/// Gives the docker CLI the context back that it had before ours, or says why that did not work.
pub fn deactivate(target: &Target) {
    if let Err(error) = crate::context::Context::of(&target.profile).and_then(|context| context.deactivate()) {
        output::talk(&format!("warning: {:#}", anyhow::Error::new(error)));
    }
}
