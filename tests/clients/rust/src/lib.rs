//! How a client written in Rust tells the suite `clients` of its checks: one JSON object a line, as `tests/src/clients/report.rs`
//! reads them. Words on the command line select checks by parts of their names, or leave them out when
//! they begin with a dash.

use std::future::Future;

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// What is to be checked.
#[derive(Debug)]
pub struct Report {
    wanted: Vec<String>,
}

impl Report {
    /// Takes the words of the command line.
    pub fn from_args() -> Self {
        Self { wanted: std::env::args().skip(1).collect() }
    }

    /// Makes a check, unless others were asked for, and tells how it went.
    pub async fn check(&self, name: &str, check: impl Future<Output = Result<()>>) {
        let (left_out, wanted): (Vec<&str>, Vec<&str>) =
            self.wanted.iter().map(String::as_str).partition(|word| word.starts_with('-'));
        let is_named = |words: &[&str]| words.iter().any(|word| name.contains(word.trim_start_matches('-')));
        if is_named(&left_out) || !wanted.is_empty() && !is_named(&wanted) {
            return;
        }
        tell(&json!({ "begin": name }));
        match check.await {
            Ok(()) => tell(&json!({ "ok": name })),
            Err(error) => tell(&json!({ "failed": name, "why": format!("{error:#}") })),
        }
    }

    /// Says that no check is left.
    pub fn done(self) {
        tell(&json!({ "done": true }));
    }
}

fn tell(line: &Value) {
    println!("{line}");
}

/// Fails unless both are equal, showing both.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<()> {
    if got != want {
        bail!("{what}: got {got:?}, expected {want:?}");
    }
    Ok(())
}
