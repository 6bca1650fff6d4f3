//! Folders of this computer that containers may see, where they are in the guest, and what a path of this computer means
//! there. The list is made from the settings at each start; `daemon::boot` gives it to the machine, `docker::hold` asks it.

pub mod disk;
pub mod place;
pub mod spelling;
pub mod translate;

use std::io;
use std::path::{Path, PathBuf};

use crate::settings::{Mount, Settings};
use disk::{Disk, ThisComputer};
use spelling::{HostKind, Spelled};

/// One folder that containers may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    name: String,
    host: PathBuf,
    /// As the user wrote it and, if links lead elsewhere, where it really is.
    names: Vec<Spelled>,
    at: String,
    writable: bool,
}

impl Share {
    /// Its name among the others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is to be opened.
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// Where it is in the guest.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Whether containers may write.
    pub fn writable(&self) -> bool {
        self.writable
    }
}

/// A folder that cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Not there, or not for us.
    #[error(
        "The folder {path} cannot be shared with containers: make it, or take it out of `mounts` in config.toml or `--mount`"
    )]
    Missing {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file, for example.
    #[error(
        "{0} is no folder, and only folders are shared with containers: name the folder that it is in, by `mounts` in config.toml or `--mount`"
    )]
    NoFolder(String),
    /// Ours.
    #[error(
        "{path} holds lighter's own files, which containers must not reach: take it out of `mounts` in config.toml or `--mount`"
    )]
    Private {
        /// Which one.
        path: String,
    },
    /// Its real path is no text.
    #[error(
        "The folder {0} lies where a name is not plain UTF-8 text: share another folder, by `mounts` in config.toml or `--mount`"
    )]
    Unprintable(String),
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    kind: HostKind,
    /// Folders before those in them.
    list: Vec<Share>,
    /// What no container may bind, though it be within a share.
    private: Vec<Spelled>,
}

impl Shares {
    /// None at all.
    pub fn none() -> Shares {
        Shares { kind: HostKind::here(), list: Vec::new(), private: Vec::new() }
    }

    /// Those that the settings ask for, or the user's home folder where they ask for nothing. `lighter_home` is
    /// `$LIGHTER_HOME`. Asks the disk, so it blocks.
    ///
    /// # Errors
    /// [`ShareError`] for a folder that was asked for and cannot be shared.
    pub fn from_settings(settings: &Settings, lighter_home: &Path) -> Result<Shares, ShareError> {
        let home = std::env::home_dir();
        let home = home.as_deref().and_then(Path::to_str);
        Shares::made(HostKind::here(), settings.mounts.as_deref(), home, lighter_home, &ThisComputer)
    }

    fn made(
        kind: HostKind,
        mounts: Option<&[Mount]>,
        home: Option<&str>,
        lighter_home: &Path,
        disk: &dyn Disk,
    ) -> Result<Shares, ShareError> {
        let known = |path: &Path| path.to_str().and_then(|text| kind.read(text).ok());
        let places = [Some(lighter_home.to_owned()), disk.real(lighter_home).ok()];
        let mut private: Vec<Spelled> = places.iter().flatten().filter_map(|path| known(path)).collect();
        private.dedup();
        let mut shares = Shares { kind, list: Vec::new(), private };
        match mounts {
            Some(mounts) => {
                for mount in mounts {
                    shares.add(mount, disk)?;
                }
            }
            None => {
                let path = home.and_then(|home| kind.read(home).ok()).filter(|path| !path.names().is_empty());
                // Nobody asked for it, so a home that cannot be shared is not.
                let _ = path.map(|path| shares.add(&Mount { path, writable: true }, disk));
            }
        }
        shares.settle();
        Ok(shares)
    }

    fn add(&mut self, mount: &Mount, disk: &dyn Disk) -> Result<(), ShareError> {
        let Mount { path, writable } = mount;
        let shown = path.to_string();
        let missing = |source| ShareError::Missing { path: shown.clone(), source };
        let host = disk.real(Path::new(&shown)).map_err(missing)?;
        if !disk.is_folder(&host) {
            return Err(ShareError::NoFolder(shown));
        }
        if !disk.is_ours_to_list(&host) {
            return Err(missing(io::ErrorKind::PermissionDenied.into()));
        }
        let real = host.to_str().and_then(|real| self.kind.read(real).ok());
        let real = real.ok_or_else(|| ShareError::Unprintable(shown.clone()))?;
        if [path, &real].iter().any(|path| self.is_private(path)) {
            return Err(ShareError::Private { path: shown });
        }
        let mut names = vec![path.clone()];
        if !real.is(path) {
            names.push(real);
        }
        self.list.push(Share { name: String::new(), host, names, at: String::new(), writable: *writable });
        Ok(())
    }

    /// Gives each its place and its name. It is at its real path, because on the way to another one the guest would follow a
    /// link that lies in a share; but a folder that has two names, and perhaps two rights, is in two places.
    fn settle(&mut self) {
        self.list.sort_by_key(|share| share.names.len());
        let mut taken: Vec<String> = Vec::new();
        for share in &mut self.list {
            let real = share.names.last().map(place::of).unwrap_or_default();
            share.at = if taken.contains(&real) { place::elsewhere(&share.names[0]) } else { real };
            taken.push(share.at.clone());
        }
        self.list.sort_by_key(|share| share.at.matches('/').count());
        for (number, share) in self.list.iter_mut().enumerate() {
            share.name = number.to_string();
        }
    }

    /// Folders before those in them.
    pub fn iter(&self) -> std::slice::Iter<'_, Share> {
        self.list.iter()
    }

    fn is_private(&self, path: &Spelled) -> bool {
        self.private.iter().any(|private| path.within(private).is_some())
    }
}

impl<'a> IntoIterator for &'a Shares {
    type Item = &'a Share;
    type IntoIter = std::slice::Iter<'a, Share>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
