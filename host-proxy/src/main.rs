//! The program `lighter`: the command line over the real image, engines and machines.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lighter::{cli, platform::ThisHost};

fn main() -> ExitCode {
    let since = Instant::now();
    cli::run(Arc::new(ThisHost), since)
}
