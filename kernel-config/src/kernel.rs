//! The guest's kernel from Debian's source package and our fragments: unpack, configure, prove the configuration, compile,
//! strip. Reproducible: the same source, fragments and compiler give the same bytes. Called by the builder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    architecture::Architecture,
    command,
    error::BuildError,
    fragments::{self, Fragment},
    progress::{self, Progress},
};

/// Debian's package of the kernel's source.
pub const PACKAGE: &str = "linux-source-6.12";
/// Raised when this file changes in a way that changes the kernel.
pub const RECIPE: u32 = 1;

/// Objects that a build compiles, for the percentage; a few more or less do no harm.
const OBJECTS: usize = 1413;
const CURE: &str = "If memory or disk ran out, free some and build again; otherwise the log names the file";
/// Parts of the tree that no build of ours reads: unpacking half the bytes saves several seconds.
const LEFT_OUT: [&str; 7] = [
    "*/drivers/gpu/drm/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/sound/*.[ch]",
    "*/Documentation/*.rst",
    "*/tools/testing",
];

/// The compiler as it names itself: it decides on the kernel's bytes, so it is part of the cache key and of the manifest.
pub fn compiler() -> Result<String, BuildError> {
    let text = command::output(command::command("gcc").arg("--version"), "")?;
    let linker = command::output(command::command("ld").arg("--version"), "")?;
    let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    Ok(format!("{}; {}", first(&text), first(&linker)))
}

/// A kernel in the making: its tree lies under `work`, its log beside it.
#[derive(Debug)]
pub struct KernelBuild<'a> {
    architecture: &'a Architecture,
    fragments: Vec<Fragment>,
    work: &'a Path,
    log: PathBuf,
}

impl<'a> KernelBuild<'a> {
    /// A build of what `fragments` ask for, in the empty directory `work`; all output of `make` is kept in `log`.
    pub fn new(architecture: &'a Architecture, fragments: Vec<Fragment>, work: &'a Path, log: PathBuf) -> Self {
        // A log of an earlier build would be added to.
        let _ = fs::remove_file(&log);
        Self { architecture, fragments, work, log }
    }

    /// Builds from the source package `deb` into `out/vmlinux` and `out/kernel.config`.
    pub fn run(&self, deb: &Path, out: &Path, progress: &mut dyn Progress) -> Result<(), BuildError> {
        progress::step(progress, "kernel: unpack the source", |_| Ok((self.unpack(deb)?, String::new())))?;
        progress::step(progress, "kernel: configure", |_| {
            let options = self.configure()?;
            Ok(((), format!("{options} options on")))
        })?;
        progress::step(progress, "kernel: compile", |progress| self.compile(progress))?;
        let product = self.tree().join(self.architecture.product);
        let vmlinux = out.join("vmlinux");
        if self.architecture.target == "vmlinux" {
            let mut strip = command::command("strip");
            command::output(strip.args(["--strip-all", "-o"]).arg(&vmlinux).arg(&product), CURE)?;
        } else {
            fs::copy(&product, &vmlinux).map_err(BuildError::io("copy", &product))?;
        }
        let config = self.tree().join(".config");
        fs::copy(&config, out.join("kernel.config")).map_err(BuildError::io("copy", &config))?;
        Ok(())
    }

    fn tree(&self) -> PathBuf {
        self.work.join("linux")
    }

    fn unpack(&self, deb: &Path) -> Result<(), BuildError> {
        let package = self.work.join("package");
        let cure = "Remove the download and build again";
        command::output(command::command("dpkg-deb").arg("-x").arg(deb).arg(&package), cure)?;
        let archive = package.join(format!("usr/src/{PACKAGE}.tar.xz"));
        let tree = self.tree();
        fs::create_dir(&tree).map_err(BuildError::io("create", &tree))?;
        let mut tar = command::command("tar");
        tar.arg("-xJf").arg(&archive).arg("-C").arg(&tree).args(["--strip-components=1", "--no-same-owner"]);
        tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")));
        command::output(&mut tar, CURE)?;
        fs::remove_dir_all(&package).map_err(BuildError::io("remove", &package))
    }

    /// Answers how many options are on.
    fn configure(&self) -> Result<usize, BuildError> {
        let fragments = &self.fragments;
        let wanted = self.work.join("wanted.config");
        fs::write(&wanted, fragments::merged(fragments)).map_err(BuildError::io("write", &wanted))?;
        let mut make = self.make();
        make.env("KCONFIG_ALLCONFIG", &wanted).args(["-s", "allnoconfig"]);
        command::logged(&mut make, &self.log, CURE, |_| ())?;
        let config = self.tree().join(".config");
        let config = fs::read_to_string(&config).map_err(BuildError::io("read", &config))?;
        let options = fragments::dropped(fragments, &config);
        if !options.is_empty() {
            return Err(BuildError::OptionsDropped { options });
        }
        Ok(config.lines().filter(|line| line.ends_with("=y")).count())
    }

    fn compile(&self, progress: &mut dyn Progress) -> Result<((), String), BuildError> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut make = self.make();
        make.arg(format!("-j{jobs}")).arg(self.architecture.target);
        let (start, mut done, mut shown) = (Instant::now(), 0, 0);
        command::logged(&mut make, &self.log, CURE, |line| {
            done += usize::from(is_object(line));
            let percent = (done * 100 / OBJECTS).min(99);
            if percent > shown {
                shown = percent;
                progress.advance("kernel: compile", percent as u8, start.elapsed());
            }
        })?;
        Ok(((), format!("{done} objects")))
    }

    fn make(&self) -> Command {
        let mut make = command::command("make");
        make.arg("-C").arg(self.tree()).arg(format!("ARCH={}", self.architecture.make));
        make.env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 2026").env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "lighter").env("KBUILD_BUILD_HOST", "lighter");
        make
    }
}

/// Whether a line of kbuild's output announces one compiled or assembled object.
fn is_object(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("CC ") || line.starts_with("AS ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_and_nothing_else() {
        let lines = [
            "  CC      kernel/fork.o",
            "  AS      arch/x86/lib/getuser.o",
            "  AR      kernel/built-in.a",
            "  LD      x",
            "",
        ];
        assert_eq!(lines.iter().filter(|line| is_object(line)).count(), 2);
    }

    #[test]
    fn compiler_names_itself_in_one_line() {
        let text = compiler().unwrap();
        assert!(text.contains("; ") && !text.contains('\n'), "{text}");
    }
}
