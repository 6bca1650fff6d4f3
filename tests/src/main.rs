//! `cargo xtask`: the developer's menu, and what continuous integration runs.

mod bench;
mod clients;
mod demo;
mod dist;
mod docker;
mod fuzz;
mod image;
mod packages;
mod process;
mod products;
mod rig;
mod soak;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use rig::tools::Tools;

/// Build, try and test lighter from its source tree.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build everything, start the machine and run a container through the docker CLI.
    Demo,
    /// Run the tests: all of them, or the named suites (check, unit, load, software, clients, network, kvm), or cases of one suite.
    /// `windows` runs only when it is named, and of it the part `boot` only when that is.
    Test {
        /// Suites, then words that select cases by name.
        words: Vec<String>,
    },
    /// Measure, and print a table.
    Bench {
        /// What to measure: boot, or of it only microvm; proxy, proxy-software; files; net, and words of its measures' names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        often: bench::Often,
        #[command(flatten)]
        files: bench::files::Asked,
        /// Also write every figure to this file.
        #[arg(long)]
        json: Option<std::path::PathBuf>,
    },
    /// Load for long: the Docker API proxy (a thousand clients, then faults, then long streams, then very many requests), or the
    /// server of shared folders (a million lookups, then tries to get out of a share).
    Soak {
        /// What to load.
        what: soak::What,
        /// How long the thousand clients stay.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// How often to try to get out of a share.
        #[arg(long, default_value_t = 10_000_000)]
        tries: u64,
    },
    /// The half of `soak folders` that runs in a namespace of its own.
    #[command(hide = true)]
    InsideFolders(soak::folders::Inside),
    /// Run each fuzz target for so many seconds (needs a nightly toolchain and cargo-fuzz).
    Fuzz {
        /// Seconds for each target.
        #[arg(default_value_t = 60)]
        seconds: u32,
    },
    /// Make packages that a person can install, in target/dist, and try what was packed.
    Dist(dist::Asked),
    /// Build the guest image if anything that it is made of has changed.
    Image,
    /// The half of the kvm rig that runs inside the emulated machine.
    #[command(hide = true)]
    Inside {
        #[command(flatten)]
        tools: Tools,
        /// Words that select cases by name.
        words: Vec<String>,
    },
    /// The half of `test windows boot` that runs inside the emulated machine.
    #[command(hide = true)]
    InsideWindows(rig::windows_guest::Asked),
    /// The half of `bench net` that runs in namespaces of its own.
    #[command(hide = true)]
    InsideNet(bench::net::Inside),
    /// The half of `bench boot` that runs inside the emulated machine.
    #[command(hide = true)]
    InsideBench {
        #[command(flatten)]
        tools: Tools,
        /// Pairs.
        #[arg(long)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = products::this_program().and_then(|_| run(cli.verb));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Demo => demo::run(),
        Verb::Test { words } => suite::run(&words),
        Verb::Bench { names, often, files, json } => bench::run(&names, &often, &files, json.as_deref()),
        Verb::Soak { what: soak::What::Proxy, minutes, .. } => {
            soak::run(&soak::Plan::long(std::time::Duration::from_secs(minutes * 60)))
        }
        Verb::Soak { what: soak::What::Folders, tries, .. } => soak::folders::run(tries),
        Verb::InsideFolders(asked) => soak::folders::inside(&asked),
        Verb::Fuzz { seconds } => fuzz::run(seconds),
        Verb::InsideWindows(asked) => rig::windows_guest::inside(&asked),
        Verb::InsideNet(asked) => bench::net::inside(&asked),
        Verb::InsideBench { tools, rounds } => bench::microvm::inside(&tools, rounds),
        Verb::Dist(asked) => dist::run(&asked),
        Verb::Image => image::ensure().map(|folder| println!("{}", folder.display())),
        Verb::Inside { tools, words } => rig::kvm::inside(&tools, &words),
    }
}
