//! A finished image on disk: finding it, and checking every byte of it before it is booted. The daemon calls this at each
//! start; it must work, and say the same, on Windows, macOS and Linux.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
};

use serde::Deserialize;

use crate::{
    cache, digest,
    image_error::ImageError,
    manifest::{self, Manifest, Part},
};

/// Largest manifest that is read, in bytes; a real one has about 10 KiB.
const MAX_MANIFEST: u64 = 1 << 20;

/// A guest image whose manifest has been read and checked. Its files are checked by [`Image::verify`].
#[derive(Debug, Clone)]
pub struct Image {
    dir: PathBuf,
    name: String,
    manifest: Manifest,
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u64,
}

impl Image {
    /// Opens the image that `current` in the folder `images` names; [`crate::place`] knows which folder that is.
    pub fn open_pointed(images: &Path) -> Result<Self, ImageError> {
        let pointer = cache::pointer_in(images);
        let bytes = read_small(&pointer)?;
        let name = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if !cache::is_image_name(name) {
            return Err(ImageError::BadPointer { path: pointer });
        }
        Self::open(&images.join(name))
    }

    /// Opens the image in `dir`, whose last component is the image's name.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let path = dir.join(manifest::FILE);
        let json = read_small(&path)?;
        let not_a_manifest = |source| ImageError::NotAManifest { path: path.clone(), source };
        let found = serde_json::from_slice::<SchemaOnly>(&json).map_err(not_a_manifest)?.schema;
        if found != u64::from(manifest::SCHEMA) {
            return Err(ImageError::UnknownSchema { path, found });
        }
        let manifest: Manifest = serde_json::from_slice(&json).map_err(not_a_manifest)?;
        let name = manifest::image_name(&json);
        if dir.file_name().and_then(|n| n.to_str()) != Some(name.as_str()) {
            return Err(ImageError::ManifestAltered { dir: dir.to_owned(), actual: name });
        }
        if manifest.architecture != std::env::consts::ARCH {
            let found = manifest.architecture;
            return Err(ImageError::WrongArchitecture { dir: dir.to_owned(), found, wanted: std::env::consts::ARCH });
        }
        if let Some(part) = manifest.files().into_iter().find(|p| !is_plain_name(&p.file)) {
            return Err(ImageError::BadFileName { path, file: part.file.clone() });
        }
        Ok(Self { dir: dir.to_owned(), name, manifest })
    }

    /// Reads every file of the image and compares size and SHA-256 with the manifest, the two large ones side by side.
    pub fn verify(&self) -> Result<(), ImageError> {
        thread::scope(|scope| {
            let root = scope.spawn(|| self.verify_part(&self.manifest.root));
            let rest = self.verify_part(&self.manifest.kernel).and_then(|()| self.verify_part(&self.manifest.agent));
            let root = root.join().expect("hashing a file does not panic");
            rest.and(root)
        })
    }

    fn verify_part(&self, part: &Part) -> Result<(), ImageError> {
        let path = self.dir.join(&part.file);
        let (file, size) = open_regular(&path)?;
        if size != part.size {
            return Err(ImageError::WrongSize {
                dir: self.dir.clone(),
                file: part.file.clone(),
                actual: size,
                expected: part.size,
            });
        }
        // One byte more than announced, so that a file that grows meanwhile is noticed, and no endless one is read.
        let (actual, _) = digest::of_reader(file.take(part.size.saturating_add(1)))
            .map_err(|source| ImageError::Unreadable { path, source })?;
        if actual != part.sha256 {
            return Err(ImageError::WrongHash {
                dir: self.dir.clone(),
                file: part.file.clone(),
                actual,
                expected: part.sha256.clone(),
            });
        }
        Ok(())
    }

    /// The image's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image's name: 32 hex digits.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of the kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(&self.manifest.kernel.file)
    }

    /// Path of the root file system.
    pub fn root(&self) -> PathBuf {
        self.dir.join(&self.manifest.root.file)
    }

    /// Path of the agent.
    pub fn agent(&self) -> PathBuf {
        self.dir.join(&self.manifest.agent.file)
    }
}

fn is_plain_name(file: &str) -> bool {
    !file.is_empty()
        && file.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !file.starts_with('.')
}

fn read_small(path: &Path) -> Result<Vec<u8>, ImageError> {
    let (file, size) = open_regular(path)?;
    let mut bytes = Vec::with_capacity(size.min(MAX_MANIFEST) as usize);
    file.take(MAX_MANIFEST)
        .read_to_end(&mut bytes)
        .map_err(|source| ImageError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Looks before it opens: opening a pipe that nobody writes to would wait for ever.
fn open_regular(path: &Path) -> Result<(File, u64), ImageError> {
    let unreadable = |source| ImageError::Unreadable { path: path.to_owned(), source };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    };
    if !about.is_file() {
        return Err(ImageError::NotAFile { path: path.to_owned() });
    }
    Ok((File::open(path).map_err(unreadable)?, about.len()))
}
