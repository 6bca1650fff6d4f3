//! The conformance suite of the Docker Engine API: asks one socket what the API is for, case by case, and prints a transcript, one
//! JSON line per case. The rig runs it against lighter's socket and, in a container, against dockerd's own, and compares
//! (`docker/conformance.rs` of the tests crate). Blocking, and with an HTTP client of its own, because it has to send and see
//! what an ordinary client hides.

mod ask;
mod case;
mod cases;
mod frames;
mod http2;
mod lab;
mod normalise;
mod registry;
mod reply;
mod tar;
mod wire;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::lab::Lab;
use crate::world::World;

const USAGE: &str =
    "usage: lighter-conformance --socket PATH --image NAME [--deadline SECONDS] [--budget SECONDS] [--bulk MIB]
                           [--show] [WORD…]
       lighter-conformance --list
       lighter-conformance --registry";

/// What the command line says.
#[derive(Default)]
struct Arguments {
    socket: Option<String>,
    image: Option<String>,
    deadline: u64,
    /// For all cases together, in seconds: those that are left then fail without being asked, so that the others are heard of.
    budget: u64,
    /// The size of the large bodies, in MiB.
    bulk: u64,
    /// Print transcripts as text, for people.
    show: bool,
    list: bool,
    /// Ask nothing, and be the registry that cases push to.
    registry: bool,
    words: Vec<String>,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments { deadline: 60, budget: u64::MAX, bulk: 1024, ..Arguments::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--socket" => found.socket = Some(value()?),
            "--image" => found.image = Some(value()?),
            "--deadline" => found.deadline = value()?.parse().with_context(|| format!("--deadline\n{USAGE}"))?,
            "--budget" => found.budget = value()?.parse().with_context(|| format!("--budget\n{USAGE}"))?,
            "--bulk" => found.bulk = value()?.parse().with_context(|| format!("--bulk\n{USAGE}"))?,
            "--registry" => found.registry = true,
            "--show" => found.show = true,
            "--list" => found.list = true,
            flag if flag.starts_with('-') => bail!("{flag} is unknown\n{USAGE}"),
            _ => found.words.push(word),
        }
    }
    Ok(found)
}

/// Runs the cases whose names contain one of the words; true when all held.
fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.registry {
        return registry::serve().map(|()| true);
    }
    let cases = case::named(&arguments.words);
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    let socket = arguments.socket.clone().context(USAGE)?;
    let image = arguments.image.clone().context(USAGE)?;
    let world = World::new(socket, image, Duration::from_secs(arguments.deadline), arguments.bulk << 20);
    world.sweep().context("cannot clear what an earlier run left")?;
    let (mut all_held, begun) = (true, Instant::now());
    for case in cases {
        let started = Instant::now();
        let mut lab = Lab::new(&world);
        let in_time = begun.elapsed().as_secs() < arguments.budget;
        let outcome = if in_time { (case.run)(&mut lab) } else { Err(anyhow!("not asked: the suite's time was over")) };
        let outcome = lab.finish(outcome);
        all_held &= outcome.is_ok();
        let error = outcome.err().map(|error| format!("{error:#}"));
        let milliseconds = started.elapsed().as_millis() as u64;
        if arguments.show {
            println!("== {} ({milliseconds} ms) {}", case.name, error.as_deref().unwrap_or("held"));
            lab.lines().iter().for_each(|line| println!("{line}"));
        } else {
            let record = serde_json::json!({
                "case": case.name, "error": error, "milliseconds": milliseconds, "lines": lab.lines(),
            });
            println!("{record}");
        }
    }
    let left = world.close().err().map(|error| format!("{error:#}"));
    let lines: [&str; 0] = [];
    println!(
        "{}",
        serde_json::json!({ "case": "run.leaves_nothing_behind", "error": left, "milliseconds": 0, "lines": lines })
    );
    Ok(all_held && left.is_none())
}
