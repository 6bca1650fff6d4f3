//! `lighter context`: the docker context by hand, for those who start with `--activate=false`; the socket that every Docker
//! client knows, for those who want it; and repairs of the docker CLI's settings.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{Target, output};
use crate::context;
use crate::context::files::DockerFiles;
use crate::context::socket::{Holder, SystemSocket};
use crate::sys::endpoint;

#[derive(Debug, Args)]
pub struct Context {
    #[command(subcommand)]
    what: Option<What>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether it exists and is the current one (the default).
    Show,
    /// Create it.
    Create,
    /// Create it and make it the current one.
    Use,
    /// Remove it.
    #[command(alias = "rm")]
    Remove,
    /// Make /var/run/docker.sock a link to this machine's socket, if no other engine has it.
    ClaimSocket {
        /// Take it also from a link of another engine's that leads nowhere just now.
        #[arg(short, long)]
        force: bool,
    },
    /// Take that link away again.
    ReleaseSocket,
    /// Take credential helpers that are not installed out of docker's config.json.
    DropHelper,
}

impl Context {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let context = context::Context::of(&target.profile)?;
        match self.what.as_ref().unwrap_or(&What::Show) {
            What::Show => return self.show(target, &context),
            What::Create => {
                context.create()?;
                output::talk(&format!("The docker context {} is there", context.name()));
            }
            What::Use => {
                context.activate()?;
                output::talk(&format!("{} is now the current docker context", context.name()));
                if let Some(variable) = context.overrides() {
                    output::talk(&format!(
                        "warning: the docker CLI will not use it because {variable} is set: unset it"
                    ));
                }
            }
            What::Remove => {
                context.remove()?;
                output::talk(&format!("The docker context {} is gone", context.name()));
            }
            What::ClaimSocket { force } => claim(target, *force)?,
            What::ReleaseSocket => {
                let released = release(target)?;
                output::talk(if released {
                    "Released the socket"
                } else {
                    "The socket is not ours: nothing was changed"
                });
            }
            What::DropHelper => drop_helper()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, target: &Target, context: &context::Context) -> anyhow::Result<ExitCode> {
        let exists = context.exists()?;
        let current = exists && context.current()? == context.name();
        let host = target.profile.docker_host();
        let socket = SystemSocket::of(&target.profile);
        let link = socket.filter(|socket| matches!(socket.holder(), Ok(Holder::Us)));
        let leads = link.map(|socket| socket.path().to_owned()).or_else(|| served(target));
        if self.json {
            let value = serde_json::json!({
                "name": context.name(), "exists": exists, "current": current, "docker_host": host, "socket_claimed": leads.is_some(),
            });
            return output::data(&format!("{value}\n"));
        }
        let state = match (exists, current) {
            (false, _) => "does not exist",
            (true, false) => "exists",
            (true, true) => "is the current one",
        };
        let link = leads.map(|path| format!("{}: leads there\n", path.display()));
        output::data(&format!("{}: {state} ({host})\n{}", context.name(), link.unwrap_or_default()))
    }
}

/// What every client connects to, if this profile's daemon serves it by itself.
fn served(target: &Target) -> Option<PathBuf> {
    let path = PathBuf::from(endpoint::WELL_KNOWN?);
    let server = endpoint::server(&path)?;
    (endpoint::server(&target.profile.control_socket()) == Some(server)).then_some(path)
}

fn claim(target: &Target, force: bool) -> anyhow::Result<()> {
    let Some(socket) = SystemSocket::of(&target.profile) else {
        bail!(
            "On this system every `lighter start` takes what all clients know, unless another engine has it: \
             `lighter context` shows it, and `lighter env` says how to do without"
        );
    };
    if !target.profile.exists() {
        bail!("There is no profile `{}`: `lighter start{}` makes it", target.profile.name(), target.flag());
    }
    let path = socket.path().display();
    if socket.claim(force)? {
        let undo = release_command(target);
        output::talk(&format!("{path} leads to this machine until the next reboot; `{undo}` gives it back"));
    } else {
        output::talk(&format!("{path} leads to this machine already"));
    }
    Ok(())
}

fn release_command(target: &Target) -> String {
    format!("lighter context release-socket{}", target.flag())
}

/// Reminds of a claim whose endpoint has gone; said by `stop --quit`.
pub fn remind(target: &Target) {
    let socket = SystemSocket::of(&target.profile);
    if let Some(kept) = socket.and_then(|socket| socket.kept(&release_command(target))) {
        output::talk(&kept);
    }
}

/// Gives the socket back, if it is ours; also asked by `delete`.
pub fn release(target: &Target) -> anyhow::Result<bool> {
    Ok(SystemSocket::of(&target.profile).map_or(Ok(false), |socket| socket.release())?)
}

fn drop_helper() -> anyhow::Result<()> {
    let docker = DockerFiles::from_env()?;
    let dropped = docker.drop_helpers(crate::doctor::gather::has_helper)?;
    if dropped.is_empty() {
        output::talk("Every credential helper in docker's settings is installed: nothing was changed");
    } else {
        let names: Vec<String> = dropped.iter().map(|name| format!("docker-credential-{name}")).collect();
        let file = docker.config();
        output::talk(&format!(
            "Took {} out of {}; `docker login` keeps passwords in that file from now on",
            names.join(" and "),
            file.display()
        ));
    }
    Ok(())
}
