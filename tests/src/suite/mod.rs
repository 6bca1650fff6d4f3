//! What `cargo xtask test` runs, by name and in this order: the quick ones first.

mod check;
mod rigs;
mod unit;

use std::time::Instant;

use anyhow::{Result, bail, ensure};

/// A part of the test run.
struct Suite {
    name: &'static str,
    about: &'static str,
    /// Why it is not run unless it is named.
    apart: Option<&'static str>,
    run: fn(&[String]) -> Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { name: "check", about: "formatting, lints, every target compiles", apart: None, run: |_| check::run() },
    Suite { name: "unit", about: "native tests of every crate", apart: None, run: |_| unit::run() },
    Suite {
        name: "software",
        about: "docker CLI against a guest under the software engine",
        apart: None,
        run: rigs::software,
    },
    Suite {
        name: "kvm",
        about: "docker CLI against a guest under KVM, inside an emulated machine",
        apart: Some("it takes eleven minutes and has been green too seldom to be relied on"),
        run: rigs::kvm,
    },
];

/// Runs the named suites, without names all that are not kept apart; words that follow a suite's name select cases in it.
pub fn run(words: &[String]) -> Result<()> {
    let named = |word: &str| SUITES.iter().any(|suite| suite.name == word);
    if let Some(word) = words.first().filter(|word| !named(word)) {
        bail!(
            "no suite is named `{word}`; there are {}",
            SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
        );
    }
    let cases: Vec<String> = words.iter().filter(|word| !named(word)).cloned().collect();
    let mut failed = Vec::new();
    for suite in SUITES.iter().filter(|suite| words.is_empty() || words.iter().any(|word| word == suite.name)) {
        if let Some(reason) = suite.apart.filter(|_| words.is_empty()) {
            println!("== {}: only run by name, because {reason}", suite.name);
            continue;
        }
        println!("== {}: {}", suite.name, suite.about);
        let started = Instant::now();
        match (suite.run)(&cases) {
            Ok(()) => println!("== {}: passed in {} s", suite.name, started.elapsed().as_secs()),
            Err(error) => {
                println!("== {}: FAILED in {} s: {error:#}", suite.name, started.elapsed().as_secs());
                failed.push(suite.name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
