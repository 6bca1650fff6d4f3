//! Windows programs under Wine: the tests of the crates that are for every host, and the stand-in for the Windows hypervisor
//! with its proof; docker clients at a named pipe (`windows_pipes`), and starts that are refused (`windows_refusals`). A word
//! selects parts by name; booting Linux with it, alone or in the whole product, takes minutes, and is done only then.

use anyhow::{Result, bail, ensure};

use super::windows_cannot::CANNOT;
use super::windows_pipes;
use super::windows_refusals;
use crate::packages;
use crate::process::{Finished, Run};
use crate::products::{cargo, ensure_target};
use crate::rig::windows_guest;
use crate::rig::wine::{TARGET, Wine, standin};

/// Tests of a crate of the workspace.
struct Tests {
    package: &'static str,
    /// What cargo is told to choose them by; nothing chooses all.
    which: &'static [&'static str],
}

/// What runs of the workspace.
const CRATES: &[Tests] = &[
    Tests { package: "lighter-protocol", which: &[] },
    Tests { package: "lighter-vmm", which: &[] },
    // Not those that run programs of this host, a docker CLI and `lighter` itself with signals; nor the load, whose two hundred
    // clients at once take longer to get in, by Wine's one server process, than any of them waits.
    Tests {
        package: "lighter",
        which: &[
            "--lib",
            "--bins",
            "--test=docker_answers",
            "--test=docker_blocked",
            "--test=docker_bodies",
            "--test=docker_connections",
            "--test=docker_departures",
            "--test=docker_faults",
            "--test=docker_heads",
            "--test=docker_held",
            "--test=docker_mounts",
            "--test=docker_streams",
        ],
    },
];
/// The parts that run only when they are named.
const BOOT: &str = "boot";
const DESKTOP: &str = "desktop";

/// What the whole suite may take: one test that waits for ever would be noticed by nothing else.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30 * 60);

pub(super) fn run(words: &[String]) -> Result<()> {
    let parts: Vec<&str> = ["standin", "proof", "pipes", "refusals", BOOT, DESKTOP]
        .into_iter()
        .chain(CRATES.iter().map(|tests| tests.package))
        .collect();
    let unasked = |part: &str| words.is_empty() && ![BOOT, DESKTOP].contains(&part);
    // A part's whole name is that part's alone: one is the beginning of others.
    let named = |part: &str, word: &str| if parts.contains(&word) { part == word } else { part.contains(word) };
    let wanted = |part: &str| unasked(part) || words.iter().any(|word| named(part, word));
    ensure!(
        parts.iter().any(|part| wanted(part)),
        "windows: no part is named {words:?}; there are {}",
        parts.join(", ")
    );
    packages::ensure(packages::WINDOWS)?;
    ensure_target(TARGET)?;
    let wine = Wine::prepare()?;
    let mut failed = Vec::new();
    for part in parts.iter().copied().filter(|part| wanted(part)) {
        let result = match part {
            "standin" => standin_tests(&wine),
            "proof" => proof(&wine),
            "pipes" => windows_pipes::run(&wine),
            "refusals" => windows_refusals::run(&wine),
            BOOT => in_emulated_machine(&wine, windows_guest::boots),
            DESKTOP => in_emulated_machine(&wine, windows_guest::desktop),
            package => CRATES.iter().filter(|tests| tests.package == package).try_for_each(|tests| tests.run(&wine)),
        };
        if let Err(error) = result {
            println!("windows: {part}: FAILED: {error:#}");
            failed.push(part);
        }
    }
    ensure!(failed.is_empty(), "under Wine: {}", failed.join(", "));
    Ok(())
}

impl Tests {
    /// Runs those that Wine can run.
    fn run(&self, wine: &Wine) -> Result<()> {
        let package = self.package;
        let cannot = || CANNOT.iter().filter(|cannot| cannot.package == package);
        for reason in cannot() {
            println!("windows: {package}: {} tests NOT RUN: {}", reason.tests.len(), reason.why);
            reason.tests.iter().for_each(|test| println!("    {test}"));
        }
        let skipped: Vec<&str> = cannot().flat_map(|cannot| cannot.tests.iter().copied()).collect();
        let words = ["test", "--locked", "--no-fail-fast", "--target", TARGET, "-p", package];
        // One after the other, as the native ones without nextest: some count what the whole process has open.
        let run = wine.cargo(words).args(self.which).args(["--", "--test-threads=1", "--exact"]);
        let counts = tests(package, run.args(skipped.iter().flat_map(|name| ["--skip", name])))?;
        ensure!(
            counts.filtered == skipped.len(),
            "{} tests were to be left out and {} were: one has another name now",
            skipped.len(),
            counts.filtered
        );
        Ok(())
    }
}

/// The stand-in's lints, which `check` leaves out because they need a build of their own, and its tests.
fn standin_tests(wine: &Wine) -> Result<()> {
    let (manifest, target) = standin()?;
    let lint = cargo(["clippy", "--quiet", "--locked", "--all-targets", "--target", TARGET, "--manifest-path"]);
    let lint = lint.args([&manifest]).args(["--target-dir"]).args([&target]);
    lint.args(["--", "-D", "warnings"]).show()?;
    let run = wine.cargo(["test", "--locked", "--target", TARGET, "--manifest-path"]).args([&manifest]);
    tests("standin", run.args(["--target-dir"]).args([&target])).map(drop)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    filtered: usize,
}

impl Counts {
    /// Adds up what the test programs said at their ends.
    fn of(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines().filter_map(|line| line.trim().strip_prefix("test result:")) {
            let number = |what: &str| {
                let part = line.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
                part.and_then(|part| part.trim().parse::<usize>().ok()).unwrap_or(0)
            };
            counts.passed += number("passed");
            counts.failed += number("failed");
            counts.filtered += number("filtered out");
        }
        counts
    }
}

fn tests(part: &str, run: Run) -> Result<Counts> {
    let done = run.within(DEADLINE).finish()?;
    let output = done.text();
    let counts = Counts::of(&output);
    println!("windows: {part}: {} tests passed, {} failed", counts.passed, counts.failed);
    if !done.status.success() || counts.failed > 0 {
        println!("{output}\n{}", done.talk());
        bail!("{} tests failed ({})", counts.failed, done.status);
    }
    ensure!(counts.passed > 0, "no test ran");
    Ok(counts)
}

/// The stand-in's proof on this host's `/dev/kvm`.
fn proof(wine: &Wine) -> Result<()> {
    let built = wine.add_hypervisor()?;
    let program = built.join("whp-proof.exe");
    let scenes = |names: &[&str]| wine.run([program.as_os_str()]).args(names);
    told(scenes(&["absent"]).env("WHP_STANDIN_ABSENT", "1"))?;
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        println!("windows: proof: NOT RUN, because /dev/kvm cannot be opened: {error}");
        return Ok(());
    }
    told(scenes(&[]))?;
    told(scenes(&["emulator"]).env("WHP_STANDIN_MMIO", "emulator"))?;
    told(scenes(&["failures"]).env("WHP_STANDIN_FAIL", "WHvUnmapGpaRange:2:8007000e")).map(drop)
}

/// What needs a hypervisor that boots Linux.
fn in_emulated_machine(wine: &Wine, scenes: fn(&Wine) -> Result<()>) -> Result<()> {
    packages::ensure(packages::TEST)?;
    scenes(wine)
}

fn told(run: Run) -> Result<Finished> {
    let done = run.ok()?;
    done.text().lines().for_each(|line| println!("windows: proof: {line}"));
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_test_programs_are_added_up() {
        let output = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.23s\r\n\
            x\ntest result: FAILED. 17 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.22s";
        assert_eq!(Counts::of(output), Counts { passed: 19, failed: 1, filtered: 3 });
    }
}
