//! `cargo xtask fuzz`: every fuzz target for a bounded time. Not part of `cargo xtask test`: it needs a nightly toolchain and
//! `cargo install cargo-fuzz`, and its use grows with time.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::process::Run;
use crate::products::root;

/// Runs all targets in turn; the first finding stops the run and its input is left in `tests/fuzz/artifacts`.
pub fn run(seconds: u32) -> Result<()> {
    let dir = root().join("tests/fuzz");
    let fuzz = |words: &[&str]| {
        let run = Run::new("cargo").args(["+nightly", "fuzz"]).args(words).dir(&dir);
        run.within(Duration::from_secs(u64::from(seconds) + 1800))
    };
    let targets = fuzz(&["list"]).ok()?.text();
    ensure!(!targets.is_empty(), "no fuzz targets in {}", dir.display());
    for target in targets.lines() {
        println!("== fuzz {target}: {seconds} s");
        let mut words = vec!["run", target, "--", "-rss_limit_mb=512", "-timeout=1"];
        let (time, dictionary) =
            (format!("-max_total_time={seconds}"), dir.join(format!("fuzz_targets/{target}.dict")));
        let dictionary_flag = format!("-dict={}", dictionary.display());
        words.push(&time);
        if dictionary.exists() {
            words.push(&dictionary_flag);
        }
        fuzz(&words).show()?;
    }
    Ok(())
}
