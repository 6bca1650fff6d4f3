//! What the docker CLI for Windows does at a pipe behind which the stand-in engine is: answers, errors, uploads, and streams whose
//! sending it ends by go-winio's `CloseWrite`. Part of `windows_pipes`.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::process::{Run, hex};
use crate::rig::wine::Wine;

/// What one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

struct Cli<'a> {
    wine: &'a Wine,
    program: &'a Path,
    host: &'a str,
    dir: &'a Path,
}

type Check = (&'static str, fn(&Cli<'_>) -> Result<()>);

const CHECKS: &[Check] = &[
    ("version_and_list", version_and_list),
    ("errors_are_the_engines_own", errors_are_the_engines_own),
    ("exec_i_echoes_three_megabytes_and_ends", exec_i_echoes),
    ("run_i_echoes_three_megabytes_and_ends", run_i_echoes),
    ("run_i_without_input_ends", run_i_without_input),
    ("load_sends_twenty_megabytes", load),
];

/// Makes all checks; a line for each.
pub(super) fn check(wine: &Wine, program: &Path, host: &str, dir: &Path) -> Result<()> {
    let cli = Cli { wine, program, host, dir };
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        match check(&cli) {
            Ok(()) => println!("windows: pipes: docker_{name} ok"),
            Err(error) => {
                println!("windows: pipes: docker_{name} FAILED: {error:#}");
                failed.push(*name);
            }
        }
    }
    ensure!(failed.is_empty(), "docker.exe: {}", failed.join(", "));
    Ok(())
}

impl Cli<'_> {
    fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        let run = self.wine.run([self.program.as_os_str()]).args(["--host", self.host]).args(words);
        run.env("DOCKER_CONFIG", format!("z:{}", self.dir.join("docker").display())).within(PATIENCE)
    }
}

/// Many bytes, and no piece of them like another.
fn noise(length: usize) -> Vec<u8> {
    let numbers = (0u32..).map(|number| number.wrapping_mul(0x9E37_79B1).rotate_left(7));
    numbers.flat_map(u32::to_le_bytes).take(length).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn version_and_list(cli: &Cli<'_>) -> Result<()> {
    let version = cli.run(["version", "--format", "{{.Client.Os}} {{.Server.Version}}"]).ok()?.text();
    ensure!(version == "windows 26.1.5", "version says {version}");
    let list = cli.run(["ps", "--quiet", "--all"]).ok()?.text();
    ensure!(list.is_empty(), "ps says {list}");
    Ok(())
}

fn errors_are_the_engines_own(cli: &Cli<'_>) -> Result<()> {
    let done = cli.run(["network", "inspect", "nobody"]).finish()?;
    ensure!(done.status.code() == Some(1), "it ended with {}", done.status);
    ensure!(done.talk().contains("not in this stand-in"), "it says {}", done.talk());
    Ok(())
}

/// What goes in comes out, and the end of one is the end of the other.
fn echo(cli: &Cli<'_>, words: &[&str], input: Vec<u8>) -> Result<()> {
    let done = cli.run(words).stdin(Cursor::new(input.clone())).ok()?;
    let same = hash(&done.stdout) == hash(&input);
    ensure!(same, "of {} bytes {} came back, or others", input.len(), done.stdout.len());
    Ok(())
}

fn exec_i_echoes(cli: &Cli<'_>) -> Result<()> {
    echo(cli, &["exec", "--interactive", "c", "cat"], noise(3_000_001))
}

fn run_i_echoes(cli: &Cli<'_>) -> Result<()> {
    echo(cli, &["run", "--interactive", "c", "cat"], noise(3_000_001))
}

fn run_i_without_input(cli: &Cli<'_>) -> Result<()> {
    echo(cli, &["run", "--interactive", "c", "cat"], Vec::new())
}

fn load(cli: &Cli<'_>) -> Result<()> {
    let (image, archive) = (noise(20 << 20), cli.dir.join("image.tar"));
    std::fs::write(&archive, &image).context("the image")?;
    let said = cli.run(["load", "--input", &format!("z:{}", archive.display())]).ok()?.text();
    let want = format!("{} {}", image.len(), hash(&image));
    ensure!(said.ends_with(&want), "the engine got {said}, not {want}");
    Ok(())
}
