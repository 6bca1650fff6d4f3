//! Starting at login by systemd's user manager: writes the units that `autostart::systemd` words, and has them enabled. Called
//! by `cli::autostart`, and by whatever ends a daemon, because systemd would start it again.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::autostart::{AutostartError, Entry, systemd};
use crate::replace::replace;

/// Has it started at login from now on.
pub fn on(entry: &Entry) -> Result<(), AutostartError> {
    let units = systemd::units(entry)?;
    let [socket, service] = systemd::names(entry);
    reachable(entry)?;
    let dir = directory(entry)?;
    if written(entry, &dir)? == Some(false) {
        return Err(AutostartError::Foreign { place: dir.join(&socket).display().to_string() });
    }
    std::fs::create_dir_all(&dir).map_err(|source| AutostartError::Io { path: dir.clone(), source })?;
    for (name, text) in [(&socket, &units.socket), (&service, &units.service)] {
        let path = dir.join(name);
        replace(&path, text.as_bytes()).map_err(|source| AutostartError::Io { path, source })?;
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", &socket])?;
    // An earlier `on` may have said otherwise.
    systemctl(&[if entry.boot { "enable" } else { "disable" }, &service])?;
    Ok(())
}

/// Does not have it started at login any more; whether it would have been. What systemd holds for a daemon of this session it
/// holds until that ends.
pub fn off(entry: &Entry) -> Result<bool, AutostartError> {
    let dir = directory(entry)?;
    if written(entry, &dir)? != Some(true) {
        return Ok(false);
    }
    let [socket, service] = systemd::names(entry);
    let was = place(entry)?.is_some();
    reachable(entry)?;
    systemctl(&["disable", &socket, &service])?;
    if systemctl(&["is-active", &socket]).is_err() {
        remove(&dir, [&socket, &service])?;
    }
    Ok(was)
}

/// Where it stands that it is to be started; `None` if it is not.
pub fn place(entry: &Entry) -> Result<Option<String>, AutostartError> {
    let dir = directory(entry)?;
    let [socket, _] = systemd::names(entry);
    let enabled = dir.join("sockets.target.wants").join(&socket).symlink_metadata().is_ok();
    let ours = written(entry, &dir)? == Some(true);
    Ok((enabled && ours).then(|| dir.join(socket).display().to_string()))
}

/// Has the endpoint provided at once; whether that is done.
pub fn provide(entry: &Entry) -> Result<bool, AutostartError> {
    let [socket, _] = systemd::names(entry);
    systemctl(&["start", &socket]).map(|_| true)
}

/// Lets nobody start the daemon again in this session by calling it: systemd closes its sockets and removes their files.
pub fn release(entry: &Entry) {
    let Ok(dir) = directory(entry) else { return };
    if !matches!(written(entry, &dir), Ok(Some(true))) || reachable(entry).is_err() {
        return;
    }
    let [socket, service] = systemd::names(entry);
    if let Err(error) = systemctl(&["stop", &socket]) {
        tracing::warn!(%error, "systemd keeps its socket");
    }
    // `autostart off` left them for as long as they were needed.
    if place(entry).is_ok_and(|place| place.is_none()) {
        let _ = remove(&dir, [&socket, &service]);
    }
}

/// Where the user's units are.
fn directory(entry: &Entry) -> Result<PathBuf, AutostartError> {
    let variable = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let default = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".config"));
    let config = variable.or_else(default).ok_or_else(|| none(entry, "Nothing says where your home is (set HOME)"))?;
    Ok(config.join("systemd").join("user"))
}

/// Whether the socket unit is of this very profile; `None` if there is none.
fn written(entry: &Entry, dir: &Path) -> Result<Option<bool>, AutostartError> {
    let path = dir.join(&systemd::names(entry)[0]);
    let mark = systemd::mark(entry)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.lines().any(|line| line == mark))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AutostartError::Io { path, source }),
    }
}

fn remove(dir: &Path, names: [&String; 2]) -> Result<(), AutostartError> {
    for name in names {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(AutostartError::Io { path, source }),
            _ => (),
        }
    }
    systemctl(&["daemon-reload"]).map(drop)
}

/// Refuses a session that systemd's user manager does not run.
fn reachable(entry: &Entry) -> Result<(), AutostartError> {
    match systemctl(&["show-environment"]) {
        Ok(_) => Ok(()),
        Err(AutostartError::Command { said, .. }) => {
            Err(none(entry, &format!("No systemd runs this session ({said})")))
        }
        Err(_) => Err(none(entry, "This system has no systemd")),
    }
}

fn none(entry: &Entry, why: &str) -> AutostartError {
    AutostartError::NoManager { why: why.to_owned(), instead: entry.typed() }
}

/// Runs `systemctl --user`; what it printed.
fn systemctl(arguments: &[&str]) -> Result<String, AutostartError> {
    let mut command = Command::new("systemctl");
    command.args(["--user", "--quiet"]).args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|source| AutostartError::Io { path: "systemctl".into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(AutostartError::Command { command: format!("systemctl --user {}", arguments.join(" ")), said })
}
