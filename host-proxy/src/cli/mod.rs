//! The command line: words and flags as Colima's, because people's fingers know them. One verb per file. stdout is data,
//! stderr is talk; exit code 0 is done, 1 is failed, 2 is wrong usage.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use crate::home::{Home, Profile, ProfileName};
use crate::machine::Platform;

mod attach;
mod autostart;
mod completion;
mod context;
mod daemon;
mod delete;
mod disk;
mod doctor;
mod env;
mod help;
mod list;
mod logs;
mod output;
mod paint;
mod ports;
mod progress;
mod proxies;
mod restart;
mod shell;
mod start;
mod status;
mod stop;
mod threads;

/// Linux containers on your desktop, with the ordinary docker CLI.
#[derive(Debug, Parser)]
#[command(name = "lighter", version, disable_help_subcommand = true, after_help = help::FIRST_STEPS)]
pub struct Cli {
    /// Which machine; each profile is one of its own.
    #[arg(short, long, global = true, default_value = "default", value_name = "NAME", add = ArgValueCompleter::new(completion::profiles))]
    profile: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the machine and make its docker context the current one.
    Start(start::Start),
    /// Stop the machine until the next docker command; containers, images and volumes stay.
    Stop(stop::Stop),
    /// Stop the machine if it runs, and start it.
    Restart(restart::Restart),
    /// Say how the machine is.
    Status(status::Status),
    /// Say how all machines are.
    #[command(alias = "ls")]
    List(list::List),
    /// Delete the machine with all its containers, images and volumes.
    Delete(delete::Delete),
    /// Show the published ports and where they are reached on this computer.
    Ports(ports::Ports),
    /// Run a command in the machine, or a shell.
    #[command(alias = "ssh")]
    Shell(shell::Shell),
    /// Show a log.
    Logs(logs::Logs),
    /// Say what is wrong, which tool reaches which engine, and the one command that cures each thing.
    Doctor(doctor::Doctor),
    /// Show the data disk, or give freed space back to this computer.
    Disk(disk::Disk),
    /// Print what sets DOCKER_HOST in a shell.
    Env(env::Env),
    /// Show, create, use or remove the docker context; claim or release /var/run/docker.sock.
    Context(context::Context),
    /// Provide the endpoint from login on, or not.
    Autostart(autostart::Autostart),
    /// Print a completion script: source <(lighter completion bash).
    Completion(completion::Completion),
    /// Say how to begin and where things are, or show one command.
    Help(help::Help),
    /// What `start` runs in the background.
    #[command(hide = true)]
    Daemon(daemon::Daemon),
}

/// The one profile that a verb is about.
pub(crate) struct Target {
    home: Home,
    profile: Profile,
}

impl Target {
    /// ` -p NAME` for commands about another profile than the default one.
    fn flag(&self) -> String {
        match self.profile.name().as_str() {
            "default" => String::new(),
            name => format!(" -p {name}"),
        }
    }
}

/// Runs the command line of this process; `since` is when it began.
pub fn run(platform: Arc<dyn Platform>, since: Instant) -> ExitCode {
    if completion::answered() {
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    match dispatch(cli, platform, since) {
        Ok(code) => code,
        Err(error) => {
            output::talk(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli, platform: Arc<dyn Platform>, since: Instant) -> anyhow::Result<ExitCode> {
    match &cli.verb {
        Verb::Completion(verb) => return verb.run(),
        Verb::Help(verb) => return verb.run(),
        _ => (),
    }
    let home = Home::from_env()?;
    let profile = home.profile(ProfileName::new(&cli.profile)?);
    let target = Target { home, profile };
    match cli.verb {
        Verb::Start(verb) => verb.run(&target, platform, since),
        Verb::Stop(verb) => verb.run(&target),
        Verb::Restart(verb) => verb.run(&target, platform, since),
        Verb::Status(verb) => verb.run(&target),
        Verb::List(verb) => verb.run(&target),
        Verb::Delete(verb) => verb.run(&target),
        Verb::Ports(verb) => verb.run(&target),
        Verb::Shell(verb) => verb.run(&target),
        Verb::Logs(verb) => verb.run(&target),
        Verb::Env(verb) => verb.run(&target),
        Verb::Context(verb) => verb.run(&target),
        Verb::Autostart(verb) => verb.run(&target),
        Verb::Doctor(verb) => verb.run(&target, &*platform),
        Verb::Disk(verb) => verb.run(&target),
        Verb::Completion(verb) => verb.run(),
        Verb::Help(verb) => verb.run(),
        Verb::Daemon(verb) => verb.run(&target, platform, since),
    }
}

/// Runs a verb that talks to a daemon. Never waits for a thread that still reads a terminal.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
