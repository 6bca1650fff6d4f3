//! Which guest image is booted: the one that was installed with the program, else the one that was built on this computer.
//! The daemon and `doctor` ask at each start. Path logic that is the same on Windows, macOS and Linux.
//!
//! A package puts its image in one of two folders, found from where the program itself lies:
//!
//! ```text
//! lighter-1.2.3/lighter         /usr/bin/lighter
//! lighter-1.2.3/image/          /usr/share/lighter/image/
//! ```
//!
//! Such a folder has the form of the cache's `images`: `current` names the subfolder to boot, and a subfolder has its manifest's
//! hash as its name. It is read where it is; nothing of it is copied or written.
//!
//! The packaged image comes first, because program and image were made for each other, and what an earlier `cargo xtask image`
//! left in the cache may be older or newer than both. A developer's program is not concerned: cargo's `target/release` has no
//! `image` beside it, nor has `/usr/local/bin` after `install target/release/lighter`, so these go on to the cache.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{Image, ImageError, cache};

/// The folder of a packaged image, as it is called beside the program and below `share/lighter`.
pub const FOLDER: &str = "image";

/// Opens the image that belongs to this program on this computer.
pub fn open() -> Result<Image, ImageError> {
    // A system that does not say where the program is has no packaged image; the error names the cache then.
    let program = std::env::current_exe().ok();
    open_for(program.as_deref(), cache::default_dir().as_deref())
}

/// Opens the image of the program at `program` with `cache` as the cache directory; `None` is not known.
///
/// A packaged image that is there and damaged is an error: to boot another one instead would hide it.
pub fn open_for(program: Option<&Path>, cache: Option<&Path>) -> Result<Image, ImageError> {
    let program = program.map(resolved);
    let packaged = program.as_deref().map(folders).unwrap_or_default();
    if let Some(folder) = packaged.iter().find(|folder| holds_images(folder)) {
        return Image::open_pointed(folder);
    }
    let none = || ImageError::NoImage {
        program: program.as_deref().and_then(Path::parent).map(Path::to_owned),
        cache: cache.map(Path::to_owned),
    };
    let built = cache.map(cache::images_dir).ok_or_else(none)?;
    if holds_images(&built) { Image::open_pointed(&built) } else { Err(none()) }
}

/// Whether there is a pointer, of whatever kind and for whoever's eyes: what is wrong with it is for the opening to say.
fn holds_images(folder: &Path) -> bool {
    let absent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    !cache::pointer_in(folder).symlink_metadata().is_err_and(|error| absent(&error))
}

/// Where a package may have put the image of the program at `program`, the likelier place first.
pub fn folders(program: &Path) -> Vec<PathBuf> {
    let Some(beside) = program.parent() else { return Vec::new() };
    // Names are joined one by one: a path of Windows's verbatim form takes no `/` for a separator.
    let shared = beside.parent().map(|prefix| prefix.join("share").join("lighter").join(FOLDER));
    [Some(beside.join(FOLDER)), shared].into_iter().flatten().collect()
}

/// The program itself where `program` is a link to it. Of one that was replaced while it ran, the path still says the folder.
fn resolved(program: &Path) -> PathBuf {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    // Windows answers in its verbatim form, which people do not write and other programs do not all read.
    let plain = real.to_str().and_then(|text| text.strip_prefix(r"\\?\")).filter(|rest| rest.get(1..3) == Some(r":\"));
    plain.map(PathBuf::from).unwrap_or(real)
}
