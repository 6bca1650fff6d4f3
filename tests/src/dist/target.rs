//! The systems that packages are made for: which compilation target, how the program is called there, whether it can be built on
//! this machine, and what it asks of the system that it will run on.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::packages::{self, Package};
use crate::process::Run;
use crate::products::{cargo, ensure_target, target_dir};

/// Makes Windows programs, and says what they import.
const MINGW: &[Package] = &[Package { name: "gcc-mingw-w64-x86-64", probe: "x86_64-w64-mingw32-gcc" }];

/// Says what a program imports. It comes with the compiler.
const BINUTILS: &[Package] = &[Package { name: "binutils", probe: "objdump" }];

/// A system that lighter is packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// x86-64, any distribution.
    Linux,
    /// x86-64.
    Windows,
    /// AArch64.
    Macos,
}

/// What came of building for a target.
pub enum Built {
    /// The program, and a line about what it asks of its system.
    Program(PathBuf, String),
    /// Why there is none.
    Missing(String),
}

impl Target {
    /// Every one, in the order of making.
    pub const ALL: [Target; 3] = [Target::Linux, Target::Windows, Target::Macos];

    /// As the packages' names say it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Linux => "linux-x86_64",
            Target::Windows => "windows-x86_64",
            Target::Macos => "macos-aarch64",
        }
    }

    /// The guest's CPU is the host's.
    pub fn architecture(self) -> &'static str {
        match self {
            Target::Linux | Target::Windows => "x86_64",
            Target::Macos => "aarch64",
        }
    }

    /// What rustc calls it. On Linux it is musl, linked statically: such a program asks nothing of a distribution, while one of
    /// glibc made on Debian 12 does not start where glibc is older than 2.34.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Linux => "x86_64-unknown-linux-musl",
            Target::Windows => "x86_64-pc-windows-gnu",
            Target::Macos => "aarch64-apple-darwin",
        }
    }

    /// The program's file name.
    pub fn program(self) -> &'static str {
        match self {
            Target::Windows => "lighter.exe",
            Target::Linux | Target::Macos => "lighter",
        }
    }

    /// How to install it and to be rid of it.
    pub fn install(self) -> &'static str {
        match self {
            Target::Linux => include_str!("texts/INSTALL-linux.md"),
            Target::Windows => include_str!("texts/INSTALL-windows.md"),
            Target::Macos => include_str!("texts/INSTALL-macos.md"),
        }
    }

    /// Builds the program, if this machine can.
    pub fn build(self) -> Result<Built> {
        match self {
            Target::Linux => packages::ensure(BINUTILS)?,
            Target::Windows => packages::ensure(MINGW)?,
            Target::Macos => {
                if let Some(why) = no_macos_linker() {
                    return Ok(Built::Missing(why));
                }
            }
        }
        let triple = self.triple();
        ensure_target(triple)?;
        cargo(["build", "--quiet", "--release", "--locked", "-p", "lighter", "--target", triple]).show()?;
        let path = target_dir()?.join(triple).join("release").join(self.program());
        ensure!(path.is_file(), "cargo built no {}", path.display());
        let asks = self.asks(&path)?;
        Ok(Built::Program(path, asks))
    }

    /// What the program asks of the system; an error if that is more than every such system has.
    fn asks(self, program: &Path) -> Result<String> {
        match self {
            Target::Linux => {
                let libraries = imports("objdump", program, "NEEDED")?;
                ensure!(libraries.is_empty(), "the program for Linux needs {}", libraries.join(", "));
                Ok("static, needs no library of the distribution".to_owned())
            }
            Target::Windows => {
                let libraries = imports("x86_64-w64-mingw32-objdump", program, "DLL Name:")?;
                // Those of the compiler are called so; Windows has none that is.
                let foreign: Vec<_> = libraries.iter().filter(|name| name.starts_with("lib")).cloned().collect();
                ensure!(foreign.is_empty(), "the program for Windows needs {} of the compiler", foreign.join(", "));
                Ok(format!("imports of Windows's own libraries only: {}", libraries.join(", ")))
            }
            Target::Macos => Ok("links the system's own libraries".to_owned()),
        }
    }
}

/// cargo finds a linker for macOS on a Mac, or where its variable names one.
fn no_macos_linker() -> Option<String> {
    let named = std::env::var_os("CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER").is_some();
    (std::env::consts::OS != "macos" && !named).then(|| {
        "no linker for macOS is here, because linking for it takes Apple's SDK: run this on a Mac, or name one in \
         CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER"
            .to_owned()
    })
}

/// The words behind `mark` in what objdump says of a program, sorted, in small letters: Windows does not tell them apart.
fn imports(objdump: &str, program: &Path, mark: &str) -> Result<Vec<String>> {
    let said = Run::new(objdump).args(["-p".as_ref(), program.as_os_str()]).ok()?.text();
    let mut found: Vec<String> =
        said.lines().filter_map(|line| Some(line.trim().strip_prefix(mark)?.trim().to_lowercase())).collect();
    found.sort();
    found.dedup();
    Ok(found)
}
