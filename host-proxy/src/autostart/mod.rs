//! Starting at login: what a user's own service manager is to be told, as pure functions that are tested on every host. Which
//! manager there is, and how it is told, is in `sys::login`; `cli::autostart` calls that.

use std::path::PathBuf;

use crate::home::{Home, Profile};

/// macOS.
pub mod launchd;
/// Windows.
pub mod run_key;
/// Linux.
pub mod systemd;

/// What is to happen at login.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The program, absolute.
    pub program: PathBuf,
    /// `$LIGHTER_HOME`, absolute.
    pub home: PathBuf,
    /// Whose machine.
    pub profile: Profile,
    /// The machine starts too, instead of with the first docker command.
    pub boot: bool,
}

/// Why nothing, or nothing more, happens at login.
#[derive(Debug, thiserror::Error)]
pub enum AutostartError {
    /// No manager that could do it.
    #[error("{why}, so nobody here can start lighter at login: put `{instead}` where your session starts its programs")]
    NoManager {
        /// What is missing.
        why: String,
        /// What does the same.
        instead: String,
    },
    /// It is another home's.
    #[error(
        "{place} belongs to a profile of the same name in another LIGHTER_HOME: run `lighter autostart off` there first"
    )]
    Foreign {
        /// Where it stands.
        place: String,
    },
    /// The words cannot be said.
    #[error("{what} cannot be written into {place}: {why}")]
    Unspeakable {
        /// Which words.
        what: String,
        /// Where.
        place: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A file.
    #[error("Cannot change {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manager's own program.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
}

impl Entry {
    /// For a profile.
    pub fn new(program: PathBuf, home: &Home, profile: &Profile, boot: bool) -> Entry {
        Entry { program, home: home.root().to_owned(), profile: profile.clone(), boot }
    }

    /// Arguments of the program for a manager that only runs it. The context is left as the user chose it.
    fn arguments(&self) -> Vec<&str> {
        let asleep = (!self.boot).then_some("--asleep");
        let rest = ["--activate=false", "--profile", self.profile.name().as_str()];
        ["start"].into_iter().chain(asleep).chain(rest).collect()
    }

    /// The same as a person would type it.
    pub fn typed(&self) -> String {
        let name = self.profile.name().as_str();
        let profile = if name == "default" { String::new() } else { format!(" --profile {name}") };
        format!("lighter start{}{profile}", if self.boot { "" } else { " --asleep" })
    }

    /// `path` as text without control characters, which no file of a manager could hold.
    fn text(path: &std::path::Path, place: &'static str) -> Result<String, AutostartError> {
        let unspeakable = |why| AutostartError::Unspeakable { what: path.display().to_string(), place, why };
        match path.to_str() {
            Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            Some(_) => Err(unspeakable("it has control characters")),
            None => Err(unspeakable("it is not plain UTF-8 text")),
        }
    }
}

#[cfg(test)]
pub(crate) fn example(home: &str, name: &str, boot: bool) -> Entry {
    let place = Home::at(std::path::Path::new(home)).unwrap();
    let profile = place.profile(crate::home::ProfileName::new(name).unwrap());
    let entry = Entry::new(PathBuf::from("/opt/my \"programs\"/100%/$lighter\\<&>"), &place, &profile, boot);
    // As it is spelled here: this may be a host where it is no absolute path.
    Entry { home: PathBuf::from(home), ..entry }
}
