//! Starting at logon by the user's `Run` key, which `reg.exe` writes. Called by `cli::autostart`.

use std::process::{Command, Stdio};

use crate::autostart::{AutostartError, Entry, run_key};

/// Has it started at logon from now on.
pub fn on(entry: &Entry) -> Result<(), AutostartError> {
    let (name, line) = (run_key::name(entry), run_key::command_line(entry)?);
    reg(&["add", run_key::KEY, "/v", &name, "/t", "REG_SZ", "/d", &line, "/f"]).map(drop)
}

/// Does not have it started at logon any more; whether it would have been.
pub fn off(entry: &Entry) -> Result<bool, AutostartError> {
    if place(entry)?.is_none() {
        return Ok(false);
    }
    reg(&["delete", run_key::KEY, "/v", &run_key::name(entry), "/f"]).map(|_| true)
}

/// Where it stands that it is to be started; `None` if it is not.
pub fn place(entry: &Entry) -> Result<Option<String>, AutostartError> {
    let name = run_key::name(entry);
    match reg(&["query", run_key::KEY, "/v", &name]) {
        Ok(printed) => Ok(run_key::found(&printed).map(|_| format!(r"{}\{name}", run_key::KEY))),
        // It fails for a value that is not there, in the user's language.
        Err(AutostartError::Command { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Windows runs the key at logon only; whoever called provides the endpoint now.
pub fn provide(_entry: &Entry) -> Result<bool, AutostartError> {
    Ok(false)
}

/// Windows holds no pipe of ours.
pub fn release(_entry: &Entry) {}

/// Runs `reg.exe`; what it printed.
fn reg(arguments: &[&str]) -> Result<String, AutostartError> {
    let output = Command::new("reg.exe").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|source| AutostartError::Io { path: "reg.exe".into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(AutostartError::Command { command: format!("reg {}", arguments.join(" ")), said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Home, ProfileName};

    #[test]
    fn the_value_is_written_found_as_it_was_written_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        // A profile that nobody has: this is the user's own key.
        let profile = home.profile(ProfileName::new(&format!("test-{}", std::process::id())).unwrap());
        let program = r"C:\Program Files\lighter & more\100%\lighter.exe".into();
        let entry = Entry::new(program, &home, &profile, false);
        assert_eq!(place(&entry).unwrap(), None);
        assert!(!off(&entry).unwrap());
        for boot in [false, true] {
            let entry = Entry { boot, ..entry.clone() };
            on(&entry).unwrap();
            let name = run_key::name(&entry);
            assert_eq!(place(&entry).unwrap(), Some(format!(r"{}\{name}", run_key::KEY)));
            let printed = reg(&["query", run_key::KEY, "/v", &name]).unwrap();
            assert_eq!(run_key::found(&printed), Some(run_key::command_line(&entry).unwrap().as_str()));
        }
        assert!(off(&entry).unwrap());
        assert_eq!(place(&entry).unwrap(), None);
    }
}
