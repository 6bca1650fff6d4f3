//! The Debian packages that a finished image was made of, as files: whoever passes the image on takes their licences from them.
//! Called by xtask. The build keeps its downloads, so that this asks the network for nothing as a rule.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    apt::{Apt, Candidate},
    architecture::Architecture,
    error::BuildError,
    hold,
    manifest::{Manifest, Package},
    progress::PlainLines,
};

/// The `.deb` of each package of `manifest`, in its order, with the content that the manifest says.
pub fn of_image(cache: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>, BuildError> {
    let host = std::env::consts::ARCH;
    let architecture = Architecture::of_host().ok_or(BuildError::UnsupportedHost { host })?;
    hold::check_path(cache)?;
    let builds = cache.join("builds");
    fs::create_dir_all(&builds).map_err(BuildError::io("create", &builds))?;
    let _lock = hold::lock(&builds, &mut PlainLines::new(std::io::stderr()))?;
    let apt = Apt::new(&builds.join("apt"), architecture.debian)?;
    let wanted: Vec<Candidate> = manifest.packages.iter().map(candidate).collect();
    if wanted.iter().any(|candidate| !apt.has(candidate)) {
        apt.update()?;
    }
    apt.fetch(&wanted)
}

fn candidate(package: &Package) -> Candidate {
    // apt writes an epoch's colon so, because some file systems have no colons.
    let version = package.version.replace(':', "%3a");
    let file = format!("{}_{version}_{}.deb", package.name, package.architecture);
    Candidate { package: package.clone(), file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_found_by_the_name_that_apt_gives_it() {
        let package = |name: &str, version: &str, architecture: &str| Package {
            name: name.into(),
            version: version.into(),
            architecture: architecture.into(),
            size: 1,
            sha256: "0".repeat(64),
        };
        assert_eq!(candidate(&package("zlib1g", "1:1.3.dfsg-1", "amd64")).file, "zlib1g_1%3a1.3.dfsg-1_amd64.deb");
        assert_eq!(candidate(&package("tini", "0.19.0-3+b8", "all")).file, "tini_0.19.0-3+b8_all.deb");
    }
}
