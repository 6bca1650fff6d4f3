//! Every file name of the host side: what lives where below `$LIGHTER_HOME`, and whether that place can be trusted. Every
//! verb and the daemon start here.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::replace;
use crate::sys::{endpoint, files};

/// Room that the machine's own sockets need below [`Profile::runtime_dir`], file name included.
const RUNTIME_NAME: &str = "a-socket-of-the-machine.sock";

/// Why the home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither variable is set and the system knows no home directory.
    #[error("Nothing says where machines are kept: set LIGHTER_HOME to a directory of yours")]
    Nowhere,
    /// The path cannot be written into Docker's configuration.
    #[error("The home {0:?} is not plain UTF-8 text: set LIGHTER_HOME to another directory")]
    Unprintable(PathBuf),
    /// Not a name.
    #[error(
        "{0:?} is not a profile name: use up to 40 lower-case letters, digits, `-`, `_` and `.`, a letter or digit at both ends"
    )]
    Name(String),
    /// A device name on Windows.
    #[error("{0:?} cannot be a profile name, because it is a device on Windows")]
    Reserved(String),
    /// Cannot be created or looked at.
    #[error("Cannot use {path}: set LIGHTER_HOME to a directory that you can write to")]
    Unusable {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else's.
    #[error("{path} belongs to user {owner}: remove it, or set LIGHTER_HOME to a directory of yours")]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Owner's uid.
        owner: u32,
    },
    /// Others could put files there.
    #[error("Others may write to {path} (mode {mode:o}): run `chmod go-w {path}`")]
    Writable {
        /// Which directory.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// Something else is in its place.
    #[error("{0} is not a directory: move it away, or set LIGHTER_HOME to another directory")]
    NotDirectory(PathBuf),
}

/// The name of a profile: safe as a file name on every system, in a pipe name, a docker context and a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileName(String);

impl ProfileName {
    /// Checks `name`. Upper case is refused because two profiles would share one directory on macOS and Windows.
    pub fn new(name: &str) -> Result<ProfileName, HomeError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
        if !ends || name.len() > 40 || !name.bytes().all(|byte| plain(byte) || b"-_.".contains(&byte)) {
            return Err(HomeError::Name(name.chars().take(80).collect()));
        }
        let stem = name.split('.').next().unwrap_or_default();
        let numbered = stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.ends_with(|c: char| c.is_ascii_digit());
        if numbered || ["con", "prn", "aux", "nul"].contains(&stem) {
            return Err(HomeError::Reserved(name.to_owned()));
        }
        Ok(ProfileName(name.to_owned()))
    }

    /// `lighter`, or `lighter-NAME` for another profile than the default: the docker context's name.
    pub fn context(&self) -> String {
        if self.0 == "default" { "lighter".to_owned() } else { format!("lighter-{}", self.0) }
    }

    /// The guest's host name: [`ProfileName::context`] in the letters that a host name allows.
    pub fn hostname(&self) -> String {
        self.context().replace(['_', '.'], "-")
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where sockets live whose profile has too long a path for them.
pub fn short_root() -> PathBuf {
    PathBuf::from(format!("/tmp/lighter-{}", files::user()))
}

/// `$LIGHTER_HOME`.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// From the environment: `$LIGHTER_HOME`, else `.lighter` in the user's home directory. Empty variables count as unset.
    pub fn from_env() -> Result<Home, HomeError> {
        let variable = std::env::var_os("LIGHTER_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let default =
            || std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".lighter"));
        Home::at(&variable.or_else(default).ok_or(HomeError::Nowhere)?)
    }

    /// At `root`, made absolute so that the daemon finds it from another directory.
    pub fn at(root: &Path) -> Result<Home, HomeError> {
        let unusable = |source| HomeError::Unusable { path: root.to_owned(), source };
        let root = std::path::absolute(root).map_err(unusable)?;
        match root.to_str() {
            Some(text) if !text.chars().any(char::is_control) => Ok(Home { root }),
            _ => Err(HomeError::Unprintable(root)),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One profile's files; nothing is created yet.
    pub fn profile(&self, name: ProfileName) -> Profile {
        let dir = self.root.join(name.as_str());
        // Always the same place for the same profile, whatever the environment of the caller is.
        let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let short_root = short_root();
        let short = short_root.join(hash);
        // The docker CLI reads the endpoint as a URL too, and stumbles over a percent sign.
        let usable = endpoint::fits(&dir.join("control.sock")) && !dir.as_os_str().as_encoded_bytes().contains(&b'%');
        let sockets = if usable { dir.clone() } else { short.clone() };
        let long_runtime = dir.join("run");
        let runtime = if endpoint::fits(&long_runtime.join(RUNTIME_NAME)) { long_runtime } else { short.join("run") };
        Profile { name, root: self.root.clone(), dir, short_root, short, sockets, runtime }
    }

    /// Profiles that exist, by name. A home that does not exist has none.
    pub fn profiles(&self) -> Result<Vec<Profile>, HomeError> {
        let unusable = |source| HomeError::Unusable { path: self.root.clone(), source };
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unusable)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Some(Ok(name)) = entry.file_name().to_str().map(ProfileName::new)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names.into_iter().map(|name| self.profile(name)).collect())
    }
}

/// The places of one profile.
#[derive(Debug, Clone)]
pub struct Profile {
    name: ProfileName,
    root: PathBuf,
    dir: PathBuf,
    short_root: PathBuf,
    short: PathBuf,
    sockets: PathBuf,
    runtime: PathBuf,
}

impl Profile {
    /// Its name.
    pub fn name(&self) -> &ProfileName {
        &self.name
    }
    /// `$LIGHTER_HOME`.
    pub fn home(&self) -> &Path {
        &self.root
    }
    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// The Docker API endpoint: `docker.sock`, in a short directory below `/tmp` if the profile's path cannot hold one.
    pub fn docker_socket(&self) -> PathBuf {
        endpoint::address(&self.sockets, "docker.sock", &format!("lighter_{}", self.name))
    }
    /// What `DOCKER_HOST` is for this profile.
    pub fn docker_host(&self) -> String {
        endpoint::docker_host(&self.docker_socket())
    }
    /// Where the daemon listens to `lighter` itself.
    pub fn control_socket(&self) -> PathBuf {
        endpoint::address(&self.sockets, "control.sock", &format!("lighter_{}_control", self.name))
    }
    /// The guest's data disk: raw, sparse.
    pub fn data_disk(&self) -> PathBuf {
        self.dir.join("data.img")
    }
    /// The user's settings.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }
    /// What the guest's kernel prints.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }
    /// What the daemon logs.
    pub fn daemon_log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }
    /// What dockerd said of itself when it last ran.
    pub fn known_answers(&self) -> PathBuf {
        self.dir.join("known-answers.json")
    }
    /// Held by the daemon for as long as it lives: who holds it is the daemon.
    pub fn daemon_lock(&self) -> PathBuf {
        self.dir.join("daemon.lock")
    }
    /// Held by whoever is about to start or delete the profile.
    pub fn start_lock(&self) -> PathBuf {
        self.dir.join("start.lock")
    }
    /// The docker context that was current before ours.
    pub fn previous_context(&self) -> PathBuf {
        self.dir.join("previous-context")
    }
    /// By what we know the proxies that we have written into docker's settings.
    pub fn container_proxies(&self) -> PathBuf {
        self.dir.join("container-proxies.json")
    }
    /// Sockets and short-lived files of the running machine.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }
    /// Whether it was ever started.
    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// Creates what is missing and refuses what others could tamper with.
    pub fn prepare(&self) -> Result<(), HomeError> {
        create(&self.root)?;
        // The home itself may be a link to a roomier disk; what it leads to is checked.
        let real =
            self.root.canonicalize().map_err(|source| HomeError::Unusable { path: self.root.clone(), source })?;
        trust(&real)?;
        for dir in [&self.dir, &self.short_root, &self.short, &self.runtime] {
            let short = dir.starts_with(&self.short_root);
            if !short || self.sockets == self.short || self.runtime.starts_with(&self.short) {
                create(dir)?;
                trust(dir)?;
                files::make_private(dir).map_err(|source| HomeError::Unusable { path: dir.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Removes what holds nothing between two runs. The caller holds the daemon's lock.
    pub fn tidy(&self) {
        // What a killed machine left there is of no use to the next one.
        let _ = std::fs::remove_dir_all(&self.runtime);
        replace::sweep(&self.known_answers());
        if self.runtime.starts_with(&self.short) || self.sockets == self.short {
            // Fails, as it should, while another profile has a directory there.
            let _ = std::fs::remove_dir(&self.short);
            let _ = std::fs::remove_dir(&self.short_root);
        }
    }
}

fn create(path: &Path) -> Result<(), HomeError> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    files::create_private_dir(path).map_err(|source| HomeError::Unusable { path: path.to_owned(), source })
}

fn trust(path: &Path) -> Result<(), HomeError> {
    let path = path.to_owned();
    match files::distrust(&path) {
        Ok(None) => Ok(()),
        Ok(Some(files::Distrust::Foreign(owner))) => Err(HomeError::Foreign { path, owner }),
        Ok(Some(files::Distrust::Writable(mode))) => Err(HomeError::Writable { path, mode }),
        Ok(Some(files::Distrust::NotDirectory)) => Err(HomeError::NotDirectory(path)),
        Err(source) => Err(HomeError::Unusable { path, source }),
    }
}
