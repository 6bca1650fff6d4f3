//! The profile: whether its directories can be trusted and its settings read.

use std::path::Path;

use crate::daemon::fault::chain;
use crate::doctor::facts::ProfileFacts;
use crate::home::{HomeError, Profile};
use crate::settings::{self, Host, Settings};
use crate::shares::Shares;
use crate::sys::{endpoint, files, host};

/// See the head of this file; and the settings that the next start will have, if it can have any.
pub fn profile(profile: &Profile) -> (ProfileFacts, Option<Settings>) {
    let config = profile.config();
    let wishes = settings::load(&config);
    let settings = match &wishes {
        Ok(wishes) => Settings::new(wishes, Host::here(), &config).map(Some),
        Err(_) => Ok(None),
    };
    let settings_error = match (&wishes, &settings) {
        (Err(error), _) | (_, Err(error)) => Some(chain(error)),
        (_, Ok(Some(settings))) => Shares::from_settings(settings, profile.home()).err().map(|error| chain(&error)),
        (_, Ok(None)) => None,
    };
    let settings = settings.ok().flatten();
    let root = profile.dir().parent().unwrap_or(profile.dir());
    let facts = ProfileFacts {
        name: profile.name().to_string(),
        context: profile.name().context(),
        docker_host: profile.docker_host(),
        dir: profile.dir().to_owned(),
        exists: profile.exists(),
        short: endpoint::SYSTEM_SOCKET.is_some() && !profile.docker_socket().starts_with(profile.dir()),
        unusable: [root, profile.dir()].into_iter().find_map(unusable),
        file_system: host::file_system(profile.dir()),
        settings_error,
        engine: settings.as_ref().map(|settings| settings.engine),
        memory_bytes: settings.as_ref().map(|settings| settings.memory_bytes),
    };
    (facts, settings)
}

/// Why `dir` cannot be used, in the words of whoever would refuse it at a start.
fn unusable(dir: &Path) -> Option<String> {
    let path = dir.to_owned();
    // The home may be a link to a roomier disk.
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let error = match files::distrust(&real) {
        Ok(Some(files::Distrust::Foreign(owner))) => HomeError::Foreign { path, owner },
        Ok(Some(files::Distrust::Writable(mode))) => HomeError::Writable { path, mode },
        Ok(Some(files::Distrust::NotDirectory)) => HomeError::NotDirectory(path),
        Ok(None) if !host::may_write(&real) => {
            HomeError::Unusable { path, source: std::io::ErrorKind::PermissionDenied.into() }
        }
        Ok(None) => return None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return cannot_be_made(dir),
        Err(source) => HomeError::Unusable { path, source },
    };
    Some(chain(&error))
}

/// A directory that does not exist yet is made at the first start, in the one above it.
fn cannot_be_made(dir: &Path) -> Option<String> {
    let above = dir.ancestors().find(|above| above.exists())?;
    (!host::may_write(above)).then(|| {
        let source = std::io::ErrorKind::PermissionDenied.into();
        crate::daemon::fault::chain(&HomeError::Unusable { path: dir.to_owned(), source })
    })
}
