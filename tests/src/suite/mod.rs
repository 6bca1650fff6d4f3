//! What `cargo xtask test` runs, by name: first the quick suites, one after the other, while what the rigs run is made; then the
//! guest rigs in two lanes at the same time, which take about as long as each other. Their guests share nothing but the image.

mod check;
mod clients;
mod rigs;
mod unit;
mod windows;
mod windows_cannot;
mod windows_pipes;
mod windows_pipes_docker;
mod windows_refusals;

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};

/// Where a suite runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Before the rigs, alone.
    Before,
    /// Among the rigs, one after the other.
    One,
    /// Beside those, one after the other.
    Other,
}

/// A part of the test run.
struct Suite {
    name: &'static str,
    about: &'static str,
    lane: Lane,
    /// Runs only when it is named.
    asked: bool,
    run: fn(&[String]) -> Result<()>,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "check",
        about: "formatting, lints, every target compiles",
        lane: Lane::Before,
        asked: false,
        run: |_| check::run(),
    },
    Suite {
        name: "unit",
        about: "native tests of every crate",
        lane: Lane::Before,
        asked: false,
        run: |_| unit::run(),
    },
    Suite {
        name: "load",
        about: "a thousand clients on the API proxy for two minutes, faults beside it, long streams and bodies",
        lane: Lane::Before,
        asked: false,
        run: |_| crate::soak::run(&crate::soak::Plan::short()),
    },
    Suite {
        name: "windows",
        about: "the portable crates' tests, docker clients of pipes and the Windows hypervisor's stand-in, under Wine",
        lane: Lane::Before,
        asked: true,
        run: windows::run,
    },
    Suite {
        name: "software",
        about: "docker CLI against a guest under the software engine",
        lane: Lane::One,
        asked: false,
        run: rigs::software,
    },
    Suite {
        name: "network",
        about: "containers in a made-up world, in a network namespace (root only)",
        lane: Lane::One,
        asked: false,
        run: rigs::network,
    },
    Suite {
        name: "kvm",
        about: "docker CLI against a guest under KVM, inside an emulated machine",
        lane: Lane::Other,
        asked: false,
        run: rigs::kvm,
    },
    Suite {
        name: "clients",
        about: "compose, buildx, SDKs, Testcontainers and a registry against a guest under the software engine",
        lane: Lane::Other,
        asked: false,
        run: clients::run,
    },
];

/// Runs the named suites, without names all but those that want to be named; words that follow a suite's name select cases in it.
pub fn run(words: &[String]) -> Result<()> {
    let named = |word: &str| SUITES.iter().any(|suite| suite.name == word);
    if let Some(word) = words.first().filter(|word| !named(word)) {
        bail!(
            "no suite is named `{word}`; there are {}",
            SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
        );
    }
    let cases: Vec<String> = words.iter().filter(|word| !named(word)).cloned().collect();
    let wanted = |lane: Lane| -> Vec<&Suite> {
        let unnamed = |suite: &&Suite| words.is_empty() && !suite.asked;
        let asked = |suite: &&Suite| unnamed(suite) || words.iter().any(|word| word == suite.name);
        SUITES.iter().filter(|suite| suite.lane == lane).filter(asked).collect()
    };
    let (one, other) = (wanted(Lane::One), wanted(Lane::Other));
    let mut failed = thread::scope(|scope| {
        // What the rigs run is the longest thing to make, and the quick suites leave processors idle. Made before the lanes
        // part: both need it, and only one may be making it.
        let made = (!one.is_empty() || !other.is_empty()).then(|| scope.spawn(rigs::prepare));
        let failed = run_lane(&wanted(Lane::Before), &cases);
        match made.map(|made| made.join()) {
            None | Some(Ok(Ok(()))) => Ok(failed),
            Some(Ok(Err(error))) => Err(error.context("cannot make what the rigs run")),
            Some(Err(_)) => Err(anyhow!("making what the rigs run panicked")),
        }
    })?;
    let rigs = thread::scope(|scope| {
        let beside = scope.spawn(|| run_lane(&other, &cases));
        let mut failed = run_lane(&one, &cases);
        failed.extend(beside.join().map_err(|_| anyhow!("the other lane panicked"))?);
        anyhow::Ok(failed)
    });
    failed.extend(rigs?);
    // Once more at the end: what a suite printed may be thousands of lines away, and mixed with the other lane's.
    for Failed { suite, why } in &failed {
        println!("== {suite} failed: {why}");
    }
    ensure!(failed.is_empty(), "failed: {}", failed.iter().map(|failed| failed.suite).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// A suite that failed, and its reason in words.
struct Failed {
    suite: &'static str,
    why: String,
}

/// Runs suites one after the other; those that failed.
fn run_lane(suites: &[&Suite], cases: &[String]) -> Vec<Failed> {
    let mut failed = Vec::new();
    for suite in suites {
        println!("== {}: {}", suite.name, suite.about);
        let started = Instant::now();
        match (suite.run)(cases) {
            Ok(()) => println!("== {}: passed in {} s", suite.name, started.elapsed().as_secs()),
            Err(error) => {
                println!("== {}: FAILED in {} s: {error:#}", suite.name, started.elapsed().as_secs());
                failed.push(Failed { suite: suite.name, why: format!("{error:#}") });
            }
        }
    }
    failed
}
