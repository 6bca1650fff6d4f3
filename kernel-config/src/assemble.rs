//! From kept parts to an image directory: put together beside its place, renamed, checked as the daemon will check it, made
//! current. The last step of a build; called by the builder, which holds the lock on the cache.

use std::{
    fs::{self, File},
    path::Path,
};

use crate::{
    artifact::{self, Artifact},
    cache, digest,
    error::BuildError,
    image::Image,
    manifest::{self, Manifest},
    progress::{self, Progress},
};

/// Puts the image together beside its place, renames it, checks it as the daemon will, and makes it current.
pub fn image(
    cache: &Path,
    manifest: &Manifest,
    agent: &[u8],
    [kernel, root]: [&Artifact; 2],
    progress: &mut dyn Progress,
) -> Result<Image, BuildError> {
    let images = cache::images_dir(cache);
    let json = manifest.to_json();
    let name = manifest::image_name(&json);
    let dir = images.join(&name);
    let image = match Image::open(&dir).and_then(|image| image.verify().map(|()| image)) {
        Ok(image) => image,
        Err(_) => progress::step(progress, "image: put together", |_| {
            let unfinished = images.join(format!("{}{name}", artifact::UNFINISHED));
            artifact::remove(&unfinished)?;
            fs::create_dir(&unfinished).map_err(BuildError::io("create", &unfinished))?;
            copy(kernel, &unfinished.join(&manifest.kernel.file))?;
            copy(root, &unfinished.join(&manifest.root.file))?;
            for (file, content) in [(manifest.agent.file.as_str(), agent), (manifest::FILE, &json)] {
                let path = unfinished.join(file);
                cache::replace_file(&path, content).map_err(BuildError::io("write", &path))?;
            }
            artifact::remove(&dir)?;
            fs::rename(&unfinished, &dir).map_err(BuildError::io("create", &dir))?;
            let image = Image::open(&dir)?;
            image.verify()?;
            Ok((image, String::new()))
        })?,
    };
    let pointer = cache::current_file(cache);
    cache::set_current(cache, &name).map_err(BuildError::io("write", pointer))?;
    // The one before stays: a machine that still runs from it may be started again by an older daemon.
    cache::prune(&images, "", 1, &dir).map_err(BuildError::io("tidy up", &images))?;
    Ok(image)
}

/// Copies a kept result, with its bytes on disk before the image gets its name. If it is not what was recorded, it is
/// removed, for the next build to make it anew.
fn copy(artifact: &Artifact, to: &Path) -> Result<(), BuildError> {
    fs::copy(&artifact.path, to).map_err(BuildError::io("copy", &artifact.path))?;
    let (sha256, _) = digest::of_file(to).map_err(BuildError::io("read", to))?;
    if sha256 != artifact.sha256 {
        fs::remove_file(&artifact.path).map_err(BuildError::io("remove", &artifact.path))?;
        return Err(BuildError::KeptAltered { path: artifact.path.clone() });
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(BuildError::io("write", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_result_is_refused_and_made_anew_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinux");
        fs::write(&path, "altered").unwrap();
        let artifact = Artifact { path: path.clone(), size: 7, sha256: digest::of_bytes(b"genuine") };
        let error = copy(&artifact, &dir.path().join("copy")).unwrap_err();
        assert!(matches!(error, BuildError::KeptAltered { .. }), "{error}");
        assert!(!path.exists());
    }
}
