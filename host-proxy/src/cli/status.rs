//! `lighter status`: how the machine is, from its daemon, or from the settings when there is none. Succeeds also when it
//! is stopped.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::paint::Paint;
use super::{Target, attach, block_on, output};
use crate::control::{self, ControlError, Phase};
use crate::settings::{self, Host, Settings};
use crate::sys::endpoint;

#[derive(Debug, Args)]
pub struct Status {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What the daemon says, and what can be told without it: the fields of `lighter status --json`.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    pub status: control::Status,
    /// The guest's processor, as Linux names it.
    pub arch: &'static str,
    /// The docker context's name.
    pub context: String,
    /// How large the data disk may get: of the file, or what the next start makes.
    pub disk_bytes: Option<u64>,
}

impl Status {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let shown = shown(target)?;
        output::data(&if self.json { json(&shown)? } else { page(shown, Paint::stdout()) })
    }
}

/// How the machine is, with everything beside it.
pub fn shown(target: &Target) -> anyhow::Result<Shown> {
    Ok(beside(target, of(target)?))
}

/// `status` with what can be told without its daemon.
pub fn beside(target: &Target, status: control::Status) -> Shown {
    let file = target.profile.data_disk().metadata().ok().filter(|about| about.is_file() && about.len() > 0);
    let next = || settings(target).map(|settings| settings.disk_bytes.unwrap_or(Settings::NEW_DISK));
    Shown {
        status,
        arch: std::env::consts::ARCH,
        context: target.profile.name().context(),
        disk_bytes: file.map(|about| about.len()).or_else(next),
    }
}

/// One line of JSON.
pub fn json(shown: &Shown) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(shown)?))
}

/// A state in its colour.
pub fn painted(state: Phase, text: &str, paint: Paint) -> String {
    match state {
        Phase::Running => paint.green(text),
        Phase::Starting | Phase::Stopping => paint.yellow(text),
        Phase::Broken => paint.red(text),
        Phase::Stopped => paint.dim(text),
    }
}

fn page(shown: Shown, paint: Paint) -> String {
    let Shown { status, arch, context, disk_bytes } = shown;
    let mut rows = vec![("profile", status.profile)];
    // Somebody holds the endpoint while the machine is off.
    let asleep = status.state == Phase::Stopped && status.pid.is_some();
    let note = if asleep { ", and the next docker command starts it" } else { "" };
    rows.push(("state", painted(status.state, status.state.name(), paint) + note));
    rows.extend(status.reason.map(|reason| ("reason", reason)));
    rows.extend(status.engine.map(|engine| ("engine", format!("{engine} ({arch})"))));
    rows.push(("docker host", status.docker_host));
    rows.push(("context", context));
    rows.extend(status.cpus.map(|cpus| ("cpus", cpus.to_string())));
    rows.extend(status.memory_bytes.map(|bytes| ("memory", output::size(bytes))));
    rows.extend(disk_bytes.map(|bytes| ("disk", output::size(bytes))));
    rows.extend(status.proxy.map(|proxy| ("proxy", proxy)));
    rows.extend(status.pid.map(|pid| ("daemon pid", pid.to_string())));
    let versions: Vec<String> = status.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    rows.push(("versions", versions.join(", ")));
    rows.iter().map(|(name, value)| format!("{:<13}{value}\n", format!("{name}:"))).collect()
}

/// What the daemon answers when it is asked; `None` if there is none.
pub fn ask(target: &Target) -> anyhow::Result<Result<Option<control::Status>, ControlError>> {
    // Without a socket there is no daemon to wait for, and no runtime to start.
    let listens = endpoint::stands(&target.profile.control_socket());
    if listens { block_on(async { Ok(attach::status(target).await) }) } else { Ok(Ok(None)) }
}

/// How the machine is. A daemon that does not answer makes a broken machine, not a failed command.
pub fn of(target: &Target) -> anyhow::Result<control::Status> {
    Ok(from(target, ask(target)?))
}

/// How the machine is, by its daemon's answer.
pub fn from(target: &Target, answer: Result<Option<control::Status>, ControlError>) -> control::Status {
    match answer {
        Ok(Some(status)) => status,
        Ok(None) => offline(target, Phase::Stopped, None, None),
        Err(ControlError::Silent { pid }) => {
            let reason = format!("The daemon does not answer: `lighter stop --force{}` ends it", target.flag());
            offline(target, Phase::Broken, Some(reason), pid)
        }
        Err(error) => offline(target, Phase::Broken, Some(format!("{:#}", anyhow::Error::new(error))), None),
    }
}

fn settings(target: &Target) -> Option<Settings> {
    let config = target.profile.config();
    settings::load(&config).and_then(|wishes| Settings::new(&wishes, Host::here(), &config)).ok()
}

fn offline(target: &Target, state: Phase, reason: Option<String>, pid: Option<u32>) -> control::Status {
    let settings = settings(target);
    control::Status {
        profile: target.profile.name().to_string(),
        state,
        reason,
        engine: None,
        docker_host: target.profile.docker_host(),
        cpus: settings.as_ref().map(|settings| settings.cpus),
        memory_bytes: settings.as_ref().map(|settings| settings.memory_bytes),
        proxy: None,
        pid,
        versions: BTreeMap::from([("lighter".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
    }
}
