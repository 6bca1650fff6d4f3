//! `cargo xtask fuzz`: every fuzz target for a bounded time. Not part of `cargo xtask test`: it needs a nightly toolchain,
//! `cargo install cargo-fuzz` and a C++ compiler for libFuzzer, and its use grows with time. `.ci/nightly` runs it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::process::Run;
use crate::products::root;

/// Runs all targets in turn; inputs that were found are left in `tests/fuzz/artifacts`.
pub fn run(seconds: u32) -> Result<()> {
    let dir = root().join("tests/fuzz");
    let fuzz = |words: &[&str]| {
        let run = Run::new("cargo").args(["+nightly", "fuzz"]).args(words).dir(&dir);
        run.within(Duration::from_secs(u64::from(seconds) + 1800))
    };
    let targets = fuzz(&["list"]).ok()?.text();
    ensure!(!targets.is_empty(), "no fuzz targets in {}", dir.display());
    let targets: Vec<&str> = targets.lines().collect();
    each(&targets, |target| {
        println!("== fuzz {target}: {seconds} s");
        let mut words = vec!["run", target, "--", "-rss_limit_mb=512", "-timeout=1"];
        let (time, dictionary) =
            (format!("-max_total_time={seconds}"), dir.join(format!("fuzz_targets/{target}.dict")));
        let dictionary_flag = format!("-dict={}", dictionary.display());
        words.push(&time);
        if dictionary.exists() {
            words.push(&dictionary_flag);
        }
        fuzz(&words).show()
    })
}

/// Fuzzes one target after the other. A finding in one says nothing about the others, so they all get their turn; then the
/// error names those that failed.
fn each(targets: &[&str], mut fuzz: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut failed = Vec::new();
    for &target in targets {
        if let Err(error) = fuzz(target) {
            println!("== fuzz {target}: FAILED: {error:#}");
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} fuzz targets failed: {}; what was found is in tests/fuzz/artifacts",
        failed.len(),
        targets.len(),
        failed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_keeps_no_other_target_from_its_turn_and_all_are_named() {
        let mut turns = Vec::new();
        let result = each(&["a", "b", "c", "d"], |target| {
            turns.push(target.to_owned());
            ensure!(target == "b" || target == "d", "found");
            Ok(())
        });
        assert_eq!(turns, ["a", "b", "c", "d"]);
        assert!(result.unwrap_err().to_string().starts_with("2 of 4 fuzz targets failed: a, c;"));
        each(&["a"], |_| Ok(())).unwrap();
    }
}
