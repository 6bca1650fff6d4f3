//! `lighter autostart`: whether the endpoint is there after login, without `lighter start`. The machine still starts with the
//! first docker command, unless the user wants it at once.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Target, attach, block_on, output};
use crate::autostart::{AutostartError, Entry};
use crate::daemon::Begin;
use crate::sys::login;

#[derive(Debug, Args)]
pub struct Autostart {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Provide the endpoint from login on.
    On {
        /// Start the machine at login too.
        #[arg(long)]
        boot: bool,
    },
    /// Do nothing at login.
    Off,
    /// Print `on` or `off`.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Autostart {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        match self.what {
            What::On { boot } => on(&entry(target, boot)?, target),
            What::Off => {
                let was = login::off(&entry(target, false)?)?;
                output::talk(if was {
                    "lighter does not start at login any more"
                } else {
                    "lighter did not start at login"
                });
                Ok(ExitCode::SUCCESS)
            }
            What::Status { json } => {
                let place = login::place(&entry(target, false)?)?;
                let name = target.profile.name().as_str();
                let value = serde_json::json!({ "profile": name, "autostart": place.is_some(), "place": place });
                output::data(&match (json, place) {
                    (true, _) => format!("{value}\n"),
                    (_, Some(_)) => "on\n".to_owned(),
                    (_, None) => "off\n".to_owned(),
                })
            }
        }
    }
}

/// What is to happen at login for this profile, by this program.
pub fn entry(target: &Target, boot: bool) -> anyhow::Result<Entry> {
    let program = std::env::current_exe().context("Cannot find this program's own file")?;
    Ok(Entry::new(program, &target.home, &target.profile, boot))
}

fn on(entry: &Entry, target: &Target) -> anyhow::Result<ExitCode> {
    target.profile.prepare()?;
    login::on(entry)?;
    let place = login::place(entry)?.unwrap_or_default();
    output::talk(&format!("lighter starts at login, as {place} says"));
    let there = block_on(async { Ok(attach::status(target).await?.is_some()) })?;
    if !there && !login::provide(entry)? {
        block_on(attach::spawn(target, &Begin::Asleep))?;
    }
    if !there {
        output::talk("It is there already now; the first docker command starts the machine");
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the service manager let go of what it holds for a daemon that is to end.
pub fn release(target: &Target) {
    if let Ok(entry) = entry(target, false) {
        login::release(&entry);
    }
}

/// Forgets a profile that is deleted. A system without a service manager has nothing to forget.
pub fn forget(target: &Target) {
    let forgotten = entry(target, false).and_then(|entry| Ok(login::off(&entry)?));
    match forgotten {
        Err(error) if !matches!(error.downcast_ref(), Some(AutostartError::NoManager { .. })) => {
            output::talk(&format!("warning: {error:#}"));
        }
        _ => (),
    }
}
