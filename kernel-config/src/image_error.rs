//! Why a guest image cannot be booted, in words for the person who wanted to. Told by `image`, shown by the daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::manifest;

/// What to do about an image that cannot be booted: the cure of who installed a package, and of who works on the source.
pub const CURE: &str = "Install lighter again, or build the image with `cargo xtask image` in lighter's source tree";

/// Why an image cannot be used. Each message names the cause and the cure.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Program and image were parted, or nothing was built yet, or the cache was emptied.
    #[error("There is no guest image{}. {CURE}", looked_in(program.as_deref(), cache.as_deref()))]
    NoImage {
        /// The program's folder, if it is known: no packaged image belongs to it.
        program: Option<PathBuf>,
        /// The cache directory that was looked at, if there is one.
        cache: Option<PathBuf>,
    },
    /// `images/current` holds something else than an image's name.
    #[error("{} does not name a guest image. {CURE}", path.display())]
    BadPointer {
        /// The pointer file.
        path: PathBuf,
    },
    /// A file of the image is not there.
    #[error("The guest image is incomplete: {} is missing. {CURE}", path.display())]
    Missing {
        /// The missing file.
        path: PathBuf,
    },
    /// A file of the image is a directory, a pipe, a device, …
    #[error("The guest image is damaged: {} is not a regular file. {CURE}", path.display())]
    NotAFile {
        /// The path that should be a file.
        path: PathBuf,
    },
    /// A file of the image cannot be read.
    #[error("The guest image's {} cannot be read. Check its owner, its permissions and the disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The manifest is not JSON of the expected shape.
    #[error("{} is not a manifest of a guest image. {CURE}", path.display())]
    NotAManifest {
        /// The manifest.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// The manifest is well-formed, but not the one that the image is named after.
    #[error("The guest image in {} is altered: its manifest.json has the name {actual}. {CURE}", dir.display())]
    ManifestAltered {
        /// The image's directory.
        dir: PathBuf,
        /// The name that belongs to the manifest's bytes.
        actual: String,
    },
    /// Built by another version of lighter.
    #[error("{} has schema {found}; this version of lighter reads schema {}. {CURE}", path.display(), manifest::SCHEMA)]
    UnknownSchema {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// For another CPU.
    #[error("The guest image in {} is for {found}; this computer has {wanted}. {CURE}", dir.display())]
    WrongArchitecture {
        /// The image's directory.
        dir: PathBuf,
        /// What it was built for.
        found: String,
        /// What this program was built for.
        wanted: &'static str,
    },
    /// The manifest names a file outside the image.
    #[error("{} names the file {file:?}, which is not inside the image. {CURE}", path.display())]
    BadFileName {
        /// The manifest.
        path: PathBuf,
        /// The offending name.
        file: String,
    },
    /// A file is shorter or longer than the manifest says.
    #[error("The guest image in {} is altered: {file} has {actual} bytes, the manifest says {expected}. {CURE}", dir.display())]
    WrongSize {
        /// The image's directory.
        dir: PathBuf,
        /// The file.
        file: String,
        /// Bytes found.
        actual: u64,
        /// Bytes in the manifest.
        expected: u64,
    },
    /// A file's content is not what the manifest says.
    #[error("The guest image in {} is altered: {file} has SHA-256 {actual}, the manifest says {expected}. {CURE}", dir.display())]
    WrongHash {
        /// The image's directory.
        dir: PathBuf,
        /// The file.
        file: String,
        /// SHA-256 found.
        actual: String,
        /// SHA-256 in the manifest.
        expected: String,
    },
}

fn looked_in(program: Option<&Path>, cache: Option<&Path>) -> String {
    let program = program.map(|folder| format!("with the program in {}", folder.display()));
    let cache = cache.map(|folder| format!("in the cache {}", folder.display()));
    match (program, cache) {
        (Some(program), Some(cache)) => format!(", neither {program} nor {cache}"),
        (Some(one), None) | (None, Some(one)) => format!(" {one}"),
        (None, None) => " that the system could lead to".to_owned(),
    }
}
