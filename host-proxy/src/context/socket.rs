//! `/var/run/docker.sock`, where clients look that know neither contexts nor DOCKER_HOST. It is claimed only when asked for
//! and only while nobody has it, as a symbolic link to the profile's own socket, and given back by taking that link away.
//! It outlives `stop --quit`: the path that it leads to is the profile's for good, so the next start serves it again, while
//! to take it away and to make it once more would both need root on most computers.
//! Called by `lighter context`, `stop` and `delete`; `doctor` asks who has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::home::Profile;
use crate::sys::terminal::in_this_shell;
use crate::sys::{endpoint, files};

/// Who has the socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Holder {
    /// There is nothing.
    #[default]
    Nobody,
    /// A link of ours.
    Us,
    /// A link to something that does not exist (any more).
    Dangling(PathBuf),
    /// A link to another engine's socket.
    Link(PathBuf),
    /// A socket of its own, or whatever else is there.
    Other,
}

/// Why the socket could not be claimed or given back.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another engine has it.
    #[error("{path} {what}, so it was left alone: stop that engine first, or choose by `{choose}`", choose = in_this_shell(""))]
    Taken {
        /// The socket.
        path: PathBuf,
        /// Who has it.
        what: String,
    },
    /// A link that leads nowhere just now: an engine that is stopped leaves one, and counts on it.
    #[error(
        "{path} leads to {target}, which does not exist just now, so it was left alone: if no engine comes back for it, \
         `lighter context claim-socket --force` takes it; otherwise choose by `{choose}`",
        choose = in_this_shell("")
    )]
    Dangling {
        /// The socket.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Only root may.
    #[error("Only root may change {path}: run `{command}`")]
    Root {
        /// The socket.
        path: PathBuf,
        /// The one command.
        command: String,
    },
    /// Another failure.
    #[error("Cannot change {path}: choose the engine by `{choose}` instead", choose = in_this_shell(""))]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The socket, seen from one profile.
#[derive(Debug, Clone)]
pub struct SystemSocket {
    path: PathBuf,
    ours: PathBuf,
}

impl SystemSocket {
    /// This system's; `None` where clients know no such socket.
    pub fn of(profile: &Profile) -> Option<SystemSocket> {
        endpoint::SYSTEM_SOCKET.map(|path| SystemSocket::at(Path::new(path), profile))
    }

    /// The one at `path`.
    pub fn at(path: &Path, profile: &Profile) -> SystemSocket {
        SystemSocket { path: path.to_owned(), ours: profile.docker_socket() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who has it now.
    pub fn holder(&self) -> io::Result<Holder> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Holder::Nobody),
            Err(error) => Err(error),
            Ok(metadata) if !metadata.is_symlink() => Ok(Holder::Other),
            Ok(_) => {
                let target = fs::read_link(&self.path)?;
                if target == self.ours {
                    return Ok(Holder::Us);
                }
                match fs::metadata(&self.path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Holder::Dangling(target)),
                    // It may not be looked at, but it is somebody's.
                    _ => Ok(Holder::Link(target)),
                }
            }
        }
    }

    /// Makes it lead to our profile; `false` if it did so already. `over_dangling` takes it also from a link of somebody
    /// else's that leads nowhere; what may be alive is never taken.
    pub fn claim(&self, over_dangling: bool) -> Result<bool, SocketError> {
        match self.holder().map_err(|source| self.failed(source, &self.claim_command()))? {
            Holder::Us => return Ok(false),
            Holder::Nobody => (),
            Holder::Dangling(target) if !over_dangling => {
                return Err(SocketError::Dangling { path: self.path.clone(), target });
            }
            Holder::Dangling(_) => {
                fs::remove_file(&self.path).map_err(|source| self.failed(source, &self.claim_command()))?;
            }
            Holder::Link(target) => {
                return Err(self.taken(format!("is a link to {}", target.display())));
            }
            Holder::Other => return Err(self.taken("belongs to another engine".to_owned())),
        }
        // Fails if somebody has been faster.
        files::link(&self.ours, &self.path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => self.taken("has just been taken by another engine".to_owned()),
            _ => self.failed(source, &self.claim_command()),
        })?;
        Ok(true)
    }

    /// Takes our link away; `false` if it was not ours.
    pub fn release(&self) -> Result<bool, SocketError> {
        let command = format!("sudo rm {}", quoted(&self.path));
        match self.holder() {
            Ok(Holder::Us) => (),
            // Whoever may not even look has put nothing there.
            _ => return Ok(false),
        }
        fs::remove_file(&self.path).map_err(|source| self.failed(source, &command))?;
        Ok(true)
    }

    /// What to say of a claim when the endpoint that it leads to goes; `undo` is the command that gives it back.
    pub fn kept(&self, undo: &str) -> Option<String> {
        matches!(self.holder(), Ok(Holder::Us)).then(|| {
            let path = self.path.display();
            format!("{path} stays yours and leads nowhere until the next start; `{undo}` gives it back")
        })
    }

    /// What root runs to make the link.
    pub fn claim_command(&self) -> String {
        // Over a dangling link it has to be told to; otherwise it must fail if somebody has been faster.
        let (ours, path) = (quoted(&self.ours), quoted(&self.path));
        if matches!(self.holder(), Ok(Holder::Dangling(_))) {
            // Unless somebody has come to life behind it meanwhile.
            return format!("[ -e {path} ] || sudo ln -sfn {ours} {path}");
        }
        format!("sudo ln -s {ours} {path}")
    }

    fn taken(&self, what: String) -> SocketError {
        SocketError::Taken { path: self.path.clone(), what }
    }

    fn failed(&self, source: io::Error, command: &str) -> SocketError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => SocketError::Root { path, command: command.to_owned() },
            _ => SocketError::Io { path, source },
        }
    }
}

/// `path` as one word of a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::home::{Home, ProfileName};

    fn place() -> (tempfile::TempDir, SystemSocket) {
        let dir = tempfile::tempdir().unwrap();
        let profile = Home::at(&dir.path().join("home")).unwrap().profile(ProfileName::new("default").unwrap());
        profile.prepare().unwrap();
        let socket = SystemSocket::at(&dir.path().join("docker.sock"), &profile);
        (dir, socket)
    }

    #[test]
    fn a_free_socket_is_claimed_once_and_given_back_once() {
        let (_dir, socket) = place();
        assert_eq!(socket.holder().unwrap(), Holder::Nobody);
        assert!(socket.claim(false).unwrap());
        assert_eq!(socket.holder().unwrap(), Holder::Us, "also while the machine is stopped");
        assert!(!socket.claim(false).unwrap() && !socket.claim(true).unwrap());
        assert!(socket.release().unwrap());
        assert!(!socket.release().unwrap());
    }

    /// Somebody's engine may only be stopped, and count on its link as ours does.
    #[test]
    fn c5_a_link_that_leads_nowhere_is_taken_only_when_that_is_said() {
        let (dir, socket) = place();
        let gone = dir.path().join("gone.sock");
        symlink(&gone, socket.path()).unwrap();
        assert_eq!(socket.holder().unwrap(), Holder::Dangling(gone.clone()));
        let error = socket.claim(false).unwrap_err().to_string();
        for part in ["gone.sock, which does not exist", "claim-socket --force", "lighter env"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(fs::read_link(socket.path()).unwrap(), gone);
        assert!(socket.kept("undo").is_none() && !socket.release().unwrap());
        assert!(socket.claim_command().contains("] || sudo ln -sfn "));
        assert!(socket.claim(true).unwrap());
        assert_eq!(socket.holder().unwrap(), Holder::Us);
    }

    #[test]
    fn c5_a_claim_is_kept_while_no_daemon_is_there_and_the_next_one_serves_it() {
        let (_dir, socket) = place();
        assert_eq!(socket.kept("undo"), None, "nothing is said to who has claimed nothing");
        socket.claim(false).unwrap();
        for _ in 0..2 {
            let daemon = std::os::unix::net::UnixListener::bind(&socket.ours).unwrap();
            std::os::unix::net::UnixStream::connect(socket.path()).unwrap();
            drop(daemon);
            fs::remove_file(&socket.ours).unwrap();
            let said = socket.kept("lighter context release-socket").unwrap();
            assert!(said.contains("until the next start; `lighter context release-socket` gives it back"), "{said}");
            assert_eq!(socket.holder().unwrap(), Holder::Us);
        }
    }

    #[test]
    fn another_engines_socket_or_link_is_never_taken_nor_removed() {
        let (dir, socket) = place();
        let _listener = std::os::unix::net::UnixListener::bind(socket.path()).unwrap();
        assert!([false, true].iter().all(|force| matches!(socket.claim(*force), Err(SocketError::Taken { .. }))));
        assert!(!socket.release().unwrap());
        fs::rename(socket.path(), dir.path().join("colima.sock")).unwrap();
        symlink("colima.sock", socket.path()).unwrap();
        let error = socket.claim(true).unwrap_err().to_string();
        assert!(error.contains("is a link to colima.sock") && error.contains("lighter env"), "{error}");
        assert!(!socket.release().unwrap());
        assert!(socket.path().is_symlink());
    }

    #[test]
    fn where_only_root_may_the_one_command_is_named() {
        let (dir, mut socket) = place();
        socket.ours = dir.path().join("it's me/docker.sock");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = socket.failed(denied(), &socket.claim_command()).to_string();
        assert!(error.contains("run `sudo ln -s '") && error.contains(r"it'\''s me"), "{error}");
    }
}
