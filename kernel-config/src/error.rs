//! Why an image could not be built. Every message names the cause, and the cure where there is one.

use std::{io, path::PathBuf, process::ExitStatus};

use crate::image_error::ImageError;

/// Failure of [`crate::build`].
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Tools of the build machine that are not installed.
    #[error("Building the guest image needs these Debian packages: {0}. Install them with `sudo apt-get install -y {0}`", .packages.join(" "))]
    MissingTools {
        /// Names for apt-get.
        packages: Vec<&'static str>,
    },
    /// Not enough room for the kernel's source and objects.
    #[error("Building the guest image needs {needed_mb} MB free in {}; there are {available_mb} MB. Free some, or point LIGHTER_CACHE elsewhere", path.display())]
    NoSpace {
        /// The cache directory.
        path: PathBuf,
        /// Free megabytes.
        available_mb: u64,
        /// Needed megabytes.
        needed_mb: u64,
    },
    /// `make` and apt split such a path in two.
    #[error(
        "The cache directory {path:?} has a space, a quote or a colon in its path, which kernel builds cannot handle. Point LIGHTER_CACHE elsewhere"
    )]
    BadCachePath {
        /// The cache directory.
        path: PathBuf,
    },
    /// There is no guest for this kind of computer.
    #[error("A guest image is built on the kind of computer that runs it, x86_64 or aarch64; this one is {host}")]
    UnsupportedHost {
        /// This computer's architecture.
        host: &'static str,
    },
    /// A file operation failed.
    #[error("Could not {action} {}", path.display())]
    Io {
        /// What was tried, for example `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("Could not run `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{program}` failed ({status}){}. {cure}\n{tail}", log.as_ref().map(|l| format!(", see {}", l.display())).unwrap_or_default())]
    Failed {
        /// The program and its first arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Where all of its output is, if it was kept.
        log: Option<PathBuf>,
        /// What to do about it.
        cure: &'static str,
        /// The last lines that it said.
        tail: String,
    },
    /// apt's answer is not of the known form.
    #[error("apt-get's answer {line:?} is not understood")]
    AptAnswer {
        /// The line in question.
        line: String,
    },
    /// The index does not have a package that the recipe wants.
    #[error("Debian's index has no package {name}")]
    NoPackage {
        /// Its name.
        name: String,
    },
    /// A downloaded package is not what the signed index says.
    #[error("{} is not the file that Debian's signed index describes. Remove it and build again", path.display())]
    WrongDownload {
        /// The download.
        path: PathBuf,
    },
    /// The archive has an older version than is needed.
    #[error(
        "{name} is wanted in version {least} at least, and the archive has {version}; LIGHTER_DEBIAN_MIRROR names another mirror"
    )]
    OldPackage {
        /// The package.
        name: String,
        /// What there is.
        version: String,
        /// What is needed.
        least: String,
    },
    /// A fragment asked for an option that the kernel's configuration did not take.
    #[error("The kernel configuration did not take {}: an option they depend on is missing from the fragments", options.join(", "))]
    OptionsDropped {
        /// As written in the fragments.
        options: Vec<String>,
    },
    /// The list of packages or the layout is malformed.
    #[error("{file}: line {line:?} is not understood")]
    Recipe {
        /// Which list.
        file: &'static str,
        /// The line.
        line: String,
    },
    /// A package no longer has a file that the recipe takes from it.
    #[error("Package {package} has no file {pattern}")]
    NotInPackage {
        /// The package.
        package: String,
        /// The pattern in the recipe.
        pattern: String,
    },
    /// A program needs a shared library that no listed package offers.
    #[error("{needed_by} needs {soname}, which no package in rootfs/packages.list offers")]
    NoLibrary {
        /// Program or library.
        needed_by: String,
        /// The library's name.
        soname: String,
    },
    /// Not an executable of the expected form.
    #[error("{} is not a static 64-bit executable for {architecture}", path.display())]
    NotStatic {
        /// The file.
        path: PathBuf,
        /// What was wanted.
        architecture: &'static str,
    },
    /// An archive or an ELF file is malformed.
    #[error("{name} is malformed: {problem}")]
    Malformed {
        /// Which file.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A kept result of an earlier build changed on the disk.
    #[error("{} changed since it was built; it is removed now. Build again", path.display())]
    KeptAltered {
        /// The kept file.
        path: PathBuf,
    },
    /// The finished image does not pass its own check.
    #[error("The finished image does not pass its own check")]
    Check(#[from] ImageError),
}

impl BuildError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
