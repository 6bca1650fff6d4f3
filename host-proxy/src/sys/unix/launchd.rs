//! Starting at login by launchd: writes the agent that `autostart::launchd` words where launchd looks at the next login. Called
//! by `cli::autostart`.

use std::io;
use std::path::PathBuf;

use crate::autostart::{AutostartError, Entry, launchd};
use crate::replace::replace;

/// Has it started at login from now on.
pub fn on(entry: &Entry) -> Result<(), AutostartError> {
    let path = file(entry)?;
    if written(entry)? == Some(false) {
        return Err(AutostartError::Foreign { place: path.display().to_string() });
    }
    let text = launchd::plist(entry)?;
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        replace(&path, text.as_bytes())
    };
    write().map_err(|source| AutostartError::Io { path: path.clone(), source })
}

/// Does not have it started at login any more; whether it would have been.
pub fn off(entry: &Entry) -> Result<bool, AutostartError> {
    if written(entry)? != Some(true) {
        return Ok(false);
    }
    let path = file(entry)?;
    std::fs::remove_file(&path).map(|()| true).map_err(|source| AutostartError::Io { path, source })
}

/// Where it stands that it is to be started; `None` if it is not.
pub fn place(entry: &Entry) -> Result<Option<String>, AutostartError> {
    Ok(if written(entry)? == Some(true) { Some(file(entry)?.display().to_string()) } else { None })
}

/// launchd runs an agent at login only; whoever called provides the endpoint now.
pub fn provide(_entry: &Entry) -> Result<bool, AutostartError> {
    Ok(false)
}

/// launchd holds no socket of ours.
pub fn release(_entry: &Entry) {}

fn file(entry: &Entry) -> Result<PathBuf, AutostartError> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| AutostartError::NoManager {
        why: "Nothing says where your home is (set HOME)".to_owned(),
        instead: entry.typed(),
    })?;
    Ok(home.join("Library").join("LaunchAgents").join(format!("{}.plist", launchd::label(entry))))
}

/// Whether the agent is of this very home; `None` if there is none.
fn written(entry: &Entry) -> Result<Option<bool>, AutostartError> {
    let path = file(entry)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.contains(&launchd::mark(entry)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AutostartError::Io { path, source }),
    }
}
