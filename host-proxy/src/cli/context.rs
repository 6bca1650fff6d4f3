//! `lighter context`: the docker context by hand, for those who start with `--activate=false`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Target, output};
use crate::context;

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
}

impl Context {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let context = context::Context::of(&target.profile)?;
        match self.what.as_ref().unwrap_or(&What::Show) {
            What::Show => return self.show(target, &context),
            What::Create => context.create()?,
            What::Use => {
                context.activate()?;
                if let Some(variable) = context.overrides() {
                    output::talk(&format!(
                        "warning: the docker CLI will not use it because {variable} is set: unset it"
                    ));
                }
            }
            What::Remove => context.remove()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, target: &Target, context: &context::Context) -> anyhow::Result<ExitCode> {
        let exists = context.exists()?;
        let current = exists && context.current()? == context.name();
        let host = target.profile.docker_host();
        if self.json {
            let value = serde_json::json!({ "name": context.name(), "exists": exists, "current": current, "docker_host": host });
            return output::data(&format!("{value}\n"));
        }
        let state = match (exists, current) {
            (false, _) => "does not exist",
            (true, false) => "exists",
            (true, true) => "is the current one",
        };
        output::data(&format!("{}: {state} ({host})\n", context.name()))
    }
}
