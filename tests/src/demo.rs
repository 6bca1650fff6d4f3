//! `cargo xtask demo`: from a fresh clone to a container, saying at each stage what it does and how long it took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::Run;
use crate::{image, packages, products};

/// Stages with their times, for the closing table.
struct Stages {
    started: Instant,
    done: Vec<(String, Duration)>,
}

impl Stages {
    fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let started = Instant::now();
        let result = work()?;
        self.done.push((name.to_owned(), started.elapsed()));
        Ok(result)
    }
}

/// Runs the demo for this user, in the default profile.
pub fn run() -> Result<()> {
    let mut stages = Stages { started: Instant::now(), done: Vec::new() };
    stages.run("what this host lacks", || {
        packages::ensure(packages::RUN)?;
        packages::ensure_docker_cli()
    })?;
    stages.run("guest image", image::ensure)?;
    let lighter = stages.run("lighter", products::lighter)?;
    stages.run("start the machine", || Run::new(&lighter).args(["start"]).within(Duration::from_secs(300)).show())?;
    stages.run("docker run --rm lighter/demo", || {
        Run::new("docker").args(["--context", "lighter", "run", "--rm", "lighter/demo"]).show()
    })?;
    println!("\n{:<34} {:>9}", "stage", "seconds");
    for (name, took) in &stages.done {
        println!("{name:<34} {:>9.1}", took.as_secs_f64());
    }
    println!("{:<34} {:>9.1}", "together", stages.started.elapsed().as_secs_f64());
    next_steps(&lighter);
    Ok(())
}

fn next_steps(lighter: &Path) {
    let lighter = lighter.display();
    println!(
        "\nThe docker CLI now talks to lighter (context `lighter`). Try\n    \
         docker version\n    \
         printf 'FROM scratch\\nCOPY README.md /\\n' | docker build -t mine -f - .\n    \
         {lighter} status\n    \
         {lighter} shell uname -a\n    \
         {lighter} stop"
    );
}
