//! What the docker CLI must be able to do through lighter's socket: named cases that both guest rigs run. A case gets a
//! [`Session`] (a CLI with its own configuration folder, so its own current context) and fails with a reason.

pub mod build;
pub mod conformance;
pub mod containers;
pub mod disk;
pub mod events;
pub mod folders;
pub mod images;
pub mod lifecycle;
pub mod memory;
pub mod network;
pub mod ports;
pub mod reach;
pub mod registry;
pub mod served;
pub mod streams;
pub mod terminal;
pub mod wake;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Run;

/// The image that cases run: busybox, imported from the host's static one.
pub const BUSYBOX: &str = "bb:latest";

/// One docker CLI user: programs, environment and a scratch folder.
pub struct Session {
    /// The docker CLI.
    pub docker: PathBuf,
    /// The `lighter` binary under test.
    pub lighter: PathBuf,
    /// Scratch folder of this session; also holds `LIGHTER_HOME` and `DOCKER_CONFIG`.
    pub dir: PathBuf,
    /// A static busybox on the host.
    pub busybox: PathBuf,
    /// The conformance suite, static.
    pub conformance: PathBuf,
    /// The measuring client, static.
    pub meter: PathBuf,
    /// The cache that holds the guest image.
    pub cache: PathBuf,
    /// `--engine` for every start.
    pub engine: &'static str,
    /// `--cpus` for every start.
    pub cpus: &'static str,
    /// Multiplies every deadline: emulated hosts are slow.
    pub patience: u32,
    /// The words that selected the cases; those with a dot select in the conformance suite.
    pub words: Vec<String>,
}

/// A named check.
pub struct Case {
    /// Name as printed and as selected on the command line.
    pub name: &'static str,
    /// The check.
    pub run: fn(&Session) -> Result<()>,
}

impl Session {
    /// A docker command in this session's environment.
    pub fn docker<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.dress(Run::new(&self.docker)).args(args)
    }

    /// A lighter command in this session's environment.
    pub fn lighter<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.dress(Run::new(&self.lighter)).args(args)
    }

    /// Environment, working folder and deadline for any program of this session.
    pub fn dress(&self, run: Run) -> Run {
        run.without_proxies()
            .env("LIGHTER_HOME", self.dir.join("home"))
            .env("DOCKER_CONFIG", self.dir.join("docker"))
            .env("HOME", &self.dir)
            .env("LIGHTER_CACHE", &self.cache)
            .without_env("DOCKER_HOST")
            .without_env("DOCKER_CONTEXT")
            .dir(&self.dir)
            .within(self.seconds(180))
    }

    /// A deadline, stretched for slow hosts.
    pub fn seconds(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) * self.patience
    }

    /// Runs `docker …` and returns trimmed stdout; failing exit codes are errors.
    pub fn out(&self, args: &[&str]) -> Result<String> {
        Ok(self.docker(args).ok()?.text())
    }

    /// Starts lighter with this session's engine.
    pub fn start(&self) -> Result<()> {
        let run =
            self.lighter(["start", "--engine", self.engine, "--cpus", self.cpus, "--memory", "2", "--disk", "20"]);
        run.within(self.seconds(180)).ok().map(drop)
    }

    /// Makes `config.toml` say this and nothing else of the same keys. For a machine that does not run.
    pub fn configure(&self, settings: &str) -> Result<()> {
        let folder = self.dir.join("home/default");
        std::fs::create_dir_all(&folder)?;
        for private in [self.dir.join("home"), folder.clone()] {
            std::fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        let path = folder.join("config.toml");
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let kept = before.lines().filter(|line| !settings.lines().any(|new| key(new) == key(line)));
        let text: String = settings.lines().chain(kept).flat_map(|line| [line, "\n"]).collect();
        Ok(std::fs::write(&path, text)?)
    }

    /// Imports busybox as [`BUSYBOX`] unless it is there.
    pub fn import_busybox(&self) -> Result<()> {
        if self.docker(["image", "inspect", BUSYBOX]).finish()?.status.success() {
            return Ok(());
        }
        let tar = busybox_tar(&self.busybox)?;
        self.docker(["import", "-", BUSYBOX]).stdin(std::io::Cursor::new(tar)).ok().map(drop)
    }

    /// Removes every container, so that each case starts from the same place.
    pub fn sweep(&self) -> Result<()> {
        let ids = self.out(&["ps", "-aq"])?;
        if !ids.is_empty() {
            self.docker(["rm", "-f"].into_iter().chain(ids.split_whitespace())).ok()?;
        }
        Ok(())
    }
}

/// A root file system tar with busybox and its applets' names, as `docker import` takes it.
pub fn busybox_tar(busybox: &Path) -> Result<Vec<u8>> {
    let tree = tempfile::tempdir()?;
    busybox_tree(busybox, tree.path())?;
    tar_of(tree.path())
}

/// A root file system with busybox and its applets' names.
fn busybox_tree(busybox: &Path, tree: &Path) -> Result<()> {
    let bin = tree.join("bin");
    std::fs::create_dir_all(&bin)?;
    for name in ["tmp", "etc", "root", "proc", "sys", "dev", "data"] {
        std::fs::create_dir_all(tree.join(name))?;
    }
    std::fs::copy(busybox, bin.join("busybox")).with_context(|| format!("copy {}", busybox.display()))?;
    let applets = Run::new(busybox).args(["--list"]).ok()?.text();
    for applet in applets.lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    let mut passwd = std::fs::File::create(tree.join("etc/passwd"))?;
    Ok(writeln!(passwd, "root:x:0:0:root:/root:/bin/sh")?)
}

fn tar_of(tree: &Path) -> Result<Vec<u8>> {
    let out = tempfile::NamedTempFile::new()?;
    Run::new("tar")
        .args(["-C"])
        .args([tree])
        .args(["--owner=0", "--group=0", "-cf"])
        .args([out.path()])
        .args(["."])
        .ok()?;
    Ok(std::fs::read(out.path())?)
}

/// All cases, in the order in which they run. Those of `wake`, `disk` and `lifecycle`, and some of `folders`, stop and start the machine, so they
/// come last.
pub fn all() -> Vec<Case> {
    let mut cases = containers::cases();
    cases.extend(streams::cases());
    cases.extend(terminal::cases());
    cases.extend(images::cases());
    cases.extend(build::cases());
    cases.extend(events::cases());
    cases.extend(folders::cases());
    cases.extend(memory::cases());
    cases.extend(conformance::cases());
    cases.extend(wake::cases());
    cases.extend(folders::restarting());
    cases.extend(disk::cases());
    cases.extend(lifecycle::cases());
    cases
}

/// The cases that a run takes for `wanted`.
pub fn named(wanted: &[String]) -> impl Iterator<Item = Case> {
    let asked = |name: &str| !folders::IN_FULL.contains(&name) || wanted.iter().any(|word| word == name);
    all().into_iter().filter(move |case| is_wanted(case.name, wanted) && asked(case.name))
}

/// Whether a name contains one of `wanted`; when there are none, every case is wanted.
pub fn is_wanted(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
}

/// A long reason without its middle: it begins with what was done, and ends with why that failed.
fn both_ends(text: &str) -> String {
    const KEPT: usize = 400;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 2 * KEPT {
        return text.to_owned();
    }
    let (head, tail) = (&chars[..KEPT], &chars[chars.len() - KEPT..]);
    format!("{} … {}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

/// Runs the cases of every rig.
pub fn run_all(session: &Session, rig: &str, wanted: &[String]) -> Result<()> {
    run_cases(session, rig, named(wanted).collect(), wanted)
}

/// Runs those of `cases` that are wanted, prints one line each and a closing count.
pub fn run_cases(session: &Session, rig: &str, cases: Vec<Case>, wanted: &[String]) -> Result<()> {
    let (mut passed, mut failed) = (0u32, Vec::new());
    for case in cases {
        if !is_wanted(case.name, wanted) {
            continue;
        }
        let started = Instant::now();
        let result = session.sweep().and_then(|()| (case.run)(session));
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                println!("{rig}: {:<44} ok     {seconds:6.1} s", case.name);
            }
            Err(error) => {
                println!("{rig}: {:<44} FAILED {seconds:6.1} s\n    {error:#}", case.name);
                // On one line, so that the kvm rig's console carries it out of the emulated machine.
                let why: String = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
                failed.push(format!("{} ({})", case.name, both_ends(&why)));
            }
        }
    }
    println!("{rig}: {passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty(), "{rig}: {} cases failed: {}", failed.len(), failed.join(", "));
    ensure!(passed > 0, "{rig}: no case is named {wanted:?}");
    Ok(())
}

/// Fails unless both sides are equal, showing both.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<()> {
    if got != want {
        bail!("{what}: got {got:?}, expected {want:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of them takes minutes in a run of everything, which has none to spare.
    #[test]
    fn what_is_to_be_named_in_full_runs_only_then() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            let wanted: Vec<String> = wanted.iter().map(|word| (*word).to_owned()).collect();
            named(&wanted).map(|case| case.name).collect()
        };
        for wanted in [&[][..], &["files_"]] {
            let taken = names(wanted);
            assert!(!taken.is_empty() && folders::IN_FULL.iter().all(|name| !taken.contains(name)), "{wanted:?}");
        }
        for name in folders::IN_FULL {
            assert_eq!(names(&[name]), [name]);
        }
    }
}
