//! Windows programs on this host: Wine with a prefix of our own, the DLL that Rust programs miss in release 8, and the
//! stand-in for the Windows hypervisor in its system folder. Used by the suite `windows`.
//!
//! The prefix stays in cargo's target folder, because making one takes Wine a quarter of a minute; one run at a time has it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::process::Run;
use crate::products::{cargo, ensure_target, root, target_dir};

/// What Windows programs are built for.
pub const TARGET: &str = "x86_64-pc-windows-gnu";

/// The program itself: Debian's `wine` on the PATH is a script that complains about a missing 32-bit one.
pub const PROGRAM: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver";

/// Wine with a prefix.
pub struct Wine {
    prefix: PathBuf,
    /// Locked as long as this lives.
    _turn: Option<File>,
    /// Windows' own programs that are not to be started.
    without: Option<&'static str>,
}

/// What Wine starts beside a program and no program of ours asks for anything; in the emulated machine it takes minutes.
const SERVICES: &str = "wineboot.exe,services.exe,winedevice.exe,explorer.exe,plugplay.exe=d";

impl Wine {
    /// Makes the prefix unless it is there.
    pub fn prepare() -> Result<Self> {
        let base = target_dir()?.join("wine");
        fs::create_dir_all(&base)?;
        let turn = File::create(base.join("lock"))?;
        flock(&turn, FlockOperation::LockExclusive).context("cannot wait for another run's Wine")?;
        let version = Run::new(PROGRAM).args(["--version"]).env("WINEDEBUG", "-all").ok()?.text();
        let name: String = version.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let wine = Self { prefix: base.join(name), _turn: Some(turn), without: None };
        if !wine.prefix.join("ready").exists() {
            drop(fs::remove_dir_all(&wine.prefix));
            fs::create_dir_all(&wine.prefix)?;
            wine.run(["wineboot", "--init"]).within(Duration::from_secs(300)).ok().context("cannot make a prefix")?;
            wine.add_random_bytes()?;
            // Written when nothing of the prefix is on its way to disk any more.
            wine.end();
            fs::write(wine.prefix.join("ready"), &version)?;
        }
        println!("windows: {version}");
        Ok(wine)
    }

    /// A prefix at `place` over a ready one that may not be written: its big folders are links into that.
    pub fn over(ready: &Path, place: &Path) -> Result<Self> {
        let [from, drive, devices] = [ready.join("drive_c"), place.join("drive_c"), place.join("dosdevices")];
        [&drive, &devices].into_iter().try_for_each(fs::create_dir_all)?;
        for name in ["system.reg", "user.reg", "userdef.reg", ".update-timestamp"] {
            fs::copy(ready.join(name), place.join(name)).with_context(|| format!("cannot copy Wine's {name}"))?;
        }
        for folder in fs::read_dir(&from).with_context(|| format!("read {}", from.display()))? {
            let folder = folder?;
            if folder.file_name() != "users" {
                symlink(folder.path(), drive.join(folder.file_name()))?;
            }
        }
        Run::new("cp").args(["-a"]).args([from.join("users"), drive.join("users")]).ok()?;
        symlink("../drive_c", devices.join("c:"))?;
        symlink("/", devices.join("z:"))?;
        Ok(Self { prefix: place.to_owned(), _turn: None, without: Some(SERVICES) })
    }

    /// Where it is.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// A Windows program with its arguments.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        self.surroundings(Run::new(PROGRAM).args(words))
    }

    /// The same with all its output in `file`, for programs that leave another one behind: on this system that one, and Wine's
    /// server, keep the pipes of the first open, as no Windows would have them do.
    pub fn run_into<S: AsRef<std::ffi::OsStr>>(&self, file: &Path, words: impl IntoIterator<Item = S>) -> Run {
        let shell = Run::new("sh").args(["-c", r#"exec "$@" > "$0" 2>&1"#]).args([file]).args([PROGRAM]);
        self.surroundings(shell.args(words))
    }

    /// Cargo, which runs what it builds for Windows here.
    pub fn cargo<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        self.surroundings(cargo(words)).env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", PROGRAM)
    }

    fn surroundings(&self, run: Run) -> Run {
        let run = run.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all").env("WINEARCH", "win64");
        let run = self.without.iter().fold(run, |run, programs| run.env("WINEDLLOVERRIDES", programs));
        run.without_env("DISPLAY")
    }

    /// Where the system's DLLs are.
    fn system(&self) -> PathBuf {
        self.prefix.join("drive_c/windows/system32")
    }

    /// The function that Rust's standard library takes its random bytes from, which Wine 8 lacks.
    fn add_random_bytes(&self) -> Result<()> {
        let library = self.system().join("bcryptprimitives.dll");
        if library.exists() {
            return Ok(());
        }
        let source = root().join("tests/wine/bcryptprimitives.c");
        let compile = Run::new("x86_64-w64-mingw32-gcc").args(["-O2", "-Wall", "-Werror", "-shared", "-o"]);
        compile.args([&library, &source]).args(["-lbcrypt"]).ok().map(drop)
    }

    /// Builds the stand-in and puts it where Windows' own would be; the folder that also holds its proof.
    pub fn add_hypervisor(&self) -> Result<PathBuf> {
        let built = build_standin()?;
        for library in ["winhvplatform.dll", "winhvemulation.dll"] {
            let from = built.join(library);
            fs::copy(&from, self.system().join(library)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(built)
    }

    /// Ends what still runs in this prefix.
    fn end(&self) {
        for flag in ["-k", "-w"] {
            let server = self.surroundings(Run::new(SERVER).args([flag]));
            drop(server.within(Duration::from_secs(30)).finish());
        }
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the stand-in's own workspace is, and where it is built.
pub fn standin() -> Result<(PathBuf, PathBuf)> {
    Ok((root().join("tests/whp-standin/Cargo.toml"), target_dir()?.join("whp-standin")))
}

fn build_standin() -> Result<PathBuf> {
    ensure_target(TARGET)?;
    let (manifest, target) = standin()?;
    let build = cargo(["build", "--quiet", "--locked", "--target", TARGET, "--manifest-path"]).args([&manifest]);
    build.args(["--target-dir"]).args([&target]).show()?;
    let built = target.join(TARGET).join("debug");
    ensure!(Path::new(&built).join("whp-proof.exe").is_file(), "cargo built nothing in {}", built.display());
    Ok(built)
}
