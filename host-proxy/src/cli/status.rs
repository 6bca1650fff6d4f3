//! `lighter status`: how the machine is, from its daemon, or from the settings when there is none. Succeeds also when it
//! is stopped.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use super::{Target, attach, block_on, output};
use crate::control::{self, ControlError, Phase};
use crate::settings::{self, Host, Settings};

#[derive(Debug, Args)]
pub struct Status {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let status = of(target)?;
        if self.json {
            return output::data(&format!("{}\n", serde_json::to_string(&status)?));
        }
        let mut lines = vec![("profile", status.profile), ("state", status.state.name().to_owned())];
        lines.extend(status.reason.map(|reason| ("reason", reason)));
        lines.extend(status.engine.map(|engine| ("engine", engine)));
        lines.push(("docker host", status.docker_host));
        lines.extend(status.cpus.map(|cpus| ("cpus", cpus.to_string())));
        lines.extend(status.memory_bytes.map(|bytes| ("memory", output::size(bytes))));
        lines.extend(status.pid.map(|pid| ("daemon pid", pid.to_string())));
        let text: String = lines.iter().map(|(name, value)| format!("{:<13}{value}\n", format!("{name}:"))).collect();
        let versions: String = status.versions.iter().map(|(name, version)| format!(" {name} {version}")).collect();
        output::data(&format!("{text}{:<12}{versions}\n", "versions:"))
    }
}

/// How the machine is. A daemon that does not answer makes a broken machine, not a failed command.
pub fn of(target: &Target) -> anyhow::Result<control::Status> {
    // Without a socket there is no daemon to wait for, and no runtime to start.
    let listens = target.profile.control_socket().symlink_metadata().is_ok();
    let answer = if listens { block_on(async { Ok(attach::status(target).await) })? } else { Ok(None) };
    Ok(match answer {
        Ok(Some(status)) => status,
        Ok(None) => offline(target, Phase::Stopped, None, None),
        Err(ControlError::Silent { pid }) => {
            let reason = "The daemon does not answer: `lighter stop --force` ends it";
            offline(target, Phase::Broken, Some(reason.to_owned()), pid)
        }
        Err(error) => offline(target, Phase::Broken, Some(format!("{:#}", anyhow::Error::new(error))), None),
    })
}

fn offline(target: &Target, state: Phase, reason: Option<String>, pid: Option<u32>) -> control::Status {
    let config = target.profile.config();
    let settings = settings::load(&config).and_then(|wishes| Settings::new(&wishes, Host::here(), &config)).ok();
    control::Status {
        profile: target.profile.name().to_string(),
        state,
        reason,
        engine: None,
        docker_host: target.profile.docker_host(),
        cpus: settings.as_ref().map(|settings| settings.cpus),
        memory_bytes: settings.as_ref().map(|settings| settings.memory_bytes),
        pid,
        versions: BTreeMap::from([("lighter".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
    }
}
