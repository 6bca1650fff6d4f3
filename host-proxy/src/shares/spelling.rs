//! Paths of the host in all their spellings, and the one form in which they are compared. Pure, and the same on every system:
//! which kind of host the paths are of is an argument, so that Windows' forms are tested everywhere.

use std::fmt;

/// How a host spells its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// `/home/me`, on Linux and macOS.
    Unix,
    /// `C:\Users\me`, and what people write for it in POSIX shells, in WSL and for other engines.
    Windows,
}

/// What a text is in place of a whole path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPath {
    /// `src`, `./src`, `~`, `C:src`.
    Relative,
    /// `\src`, which is on whatever drive is the current one.
    NoDrive,
    /// `\\server\share`.
    Network,
    /// `\\.\pipe\docker_engine`.
    Device,
}

/// A whole path: names without `.`, `..` and empty ones between them, behind a drive where Windows has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelled {
    drive: Option<char>,
    names: Vec<String>,
}

impl HostKind {
    /// Of this computer.
    pub fn here() -> HostKind {
        crate::sys::HOST_KIND
    }

    /// Reads a whole path.
    ///
    /// # Errors
    /// [`NoPath`] when it is none.
    pub fn read(self, text: &str) -> Result<Spelled, NoPath> {
        match self {
            HostKind::Unix if text.starts_with('/') => Ok(Spelled { drive: None, names: tidied(text.split('/')) }),
            HostKind::Unix => Err(NoPath::Relative),
            HostKind::Windows => windows(text),
        }
    }
}

fn windows(text: &str) -> Result<Spelled, NoPath> {
    let slashed = text.replace('\\', "/");
    // What stands behind it is taken as it is by Windows, and must be a drive or a name of the kernel's.
    if let Some(rest) = slashed.strip_prefix("//?/") {
        return on_drive(rest).ok_or(NoPath::Network);
    }
    if slashed.starts_with("//./") {
        return Err(NoPath::Device);
    }
    if text.starts_with('\\') {
        return Err(if slashed.starts_with("//") { NoPath::Network } else { NoPath::NoDrive });
    }
    if let Some(spelled) = on_drive(&slashed) {
        return Ok(spelled);
    }
    if !slashed.starts_with('/') {
        return Err(NoPath::Relative);
    }
    let mut names = tidied(slashed.split('/'));
    // What Git's shell and MSYS, WSL, and Docker Desktop past and present call the drive.
    let before: [&[&str]; 4] = [&[], &["mnt"], &["host_mnt"], &["run", "desktop", "mnt", "host"]];
    for place in before {
        if names.len() > place.len()
            && place.iter().zip(&names).all(|(wanted, name)| wanted == name)
            && let [letter @ (b'a'..=b'z' | b'A'..=b'Z')] = names[place.len()].as_bytes()
        {
            let drive = Some(char::from(letter.to_ascii_lowercase()));
            return Ok(Spelled { drive, names: names.split_off(place.len() + 1) });
        }
    }
    Ok(Spelled { drive: None, names })
}

/// `C:/x`, and `C:/` itself.
fn on_drive(slashed: &str) -> Option<Spelled> {
    match slashed.as_bytes() {
        [letter, b':', b'/', ..] if letter.is_ascii_alphabetic() => Some(Spelled {
            drive: Some(char::from(letter.to_ascii_lowercase())),
            names: tidied(slashed[3..].split('/')),
        }),
        _ => None,
    }
}

/// Without what says nothing, as dockerd tidies paths too.
fn tidied<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in parts {
        match part {
            "" | "." => (),
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}

impl Spelled {
    /// The names, from the top down.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The drive's letter, in lower case; `None` on Unix, and for a path that is none of Windows' own.
    pub fn drive(&self) -> Option<char> {
        self.drive
    }

    /// What follows behind `folder`, if this is that folder or within it.
    pub fn within(&self, folder: &Spelled) -> Option<&[String]> {
        let same = |(one, other): (&String, &String)| {
            // Case counts for nothing on Windows, and for nobody else's names.
            one == other || self.drive.is_some() && one.to_lowercase() == other.to_lowercase()
        };
        let inside = self.drive == folder.drive
            && self.names.len() >= folder.names.len()
            && folder.names.iter().zip(&self.names).all(same);
        inside.then(|| &self.names[folder.names.len()..])
    }

    /// The same folder.
    pub fn is(&self, other: &Spelled) -> bool {
        self.within(other).is_some_and(<[String]>::is_empty)
    }

    /// The folder that this is in; `None` at the top.
    pub fn parent(&self) -> Option<Spelled> {
        let (_, names) = self.names.split_last()?;
        Some(Spelled { drive: self.drive, names: names.to_vec() })
    }

    /// `names` below this.
    #[must_use]
    pub fn join(mut self, names: &[String]) -> Spelled {
        self.names.extend_from_slice(names);
        self
    }
}

/// As the host itself spells it.
impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.drive {
            Some(letter) => write!(f, "{}:\\{}", letter.to_ascii_uppercase(), self.names.join("\\")),
            None => write!(f, "/{}", self.names.join("/")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(kind: HostKind, text: &str) -> Result<String, NoPath> {
        kind.read(text).map(|spelled| spelled.to_string())
    }

    #[test]
    fn h9_every_spelling_of_a_windows_folder_is_one_folder() {
        for text in [
            "C:\\Users\\me",
            "c:\\Users\\me\\",
            "C:/Users/me",
            "C:\\Users/./x/../me",
            "/c/Users/me",
            "//c/Users/me",
            "/C/Users//me/",
            "/mnt/c/Users/me",
            "/host_mnt/c/Users/me",
            "/run/desktop/mnt/host/c/Users/me",
            "\\\\?\\C:\\Users\\me",
            "//?/C:/Users/me",
            "C:\\..\\..\\Users\\me",
        ] {
            assert_eq!(shown(HostKind::Windows, text), Ok("C:\\Users\\me".to_owned()), "{text}");
        }
        for text in ["C:\\", "c:/", "/c", "/c/", "/mnt/c"] {
            assert_eq!(shown(HostKind::Windows, text), Ok("C:\\".to_owned()), "{text}");
        }
    }

    #[test]
    fn h9_what_is_no_folder_of_a_drive_is_told_apart() {
        for (text, what) in [
            ("\\\\server\\share\\x", NoPath::Network),
            ("\\\\wsl$\\Debian\\home", NoPath::Network),
            ("\\\\?\\UNC\\server\\share", NoPath::Network),
            ("\\\\?\\C:", NoPath::Network),
            ("\\\\.\\pipe\\docker_engine", NoPath::Device),
            ("//./pipe/docker_engine", NoPath::Device),
            ("\\Users", NoPath::NoDrive),
            ("C:Users", NoPath::Relative),
            ("C:", NoPath::Relative),
            ("src\\x", NoPath::Relative),
            ("~/src", NoPath::Relative),
            ("", NoPath::Relative),
        ] {
            assert_eq!(shown(HostKind::Windows, text), Err(what), "{text}");
        }
        for (text, plain) in [
            ("//var/run/docker.sock", "/var/run/docker.sock"),
            ("/", "/"),
            ("//server/share", "/server/share"),
            ("/mnt/wsl/x", "/mnt/wsl/x"),
            ("/mnt", "/mnt"),
        ] {
            assert_eq!(shown(HostKind::Windows, text), Ok(plain.to_owned()), "{text}");
        }
    }

    #[test]
    fn h9_unix_paths_are_tidied_and_windows_ones_are_none() {
        for (text, tidy) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../etc", "/etc"),
            ("/a/b/..", "/a"),
            ("/C:\\x", "/C:\\x"),
            ("/c/x", "/c/x"),
            ("/mnt/c/x", "/mnt/c/x"),
        ] {
            assert_eq!(shown(HostKind::Unix, text), Ok(tidy.to_owned()), "{text}");
        }
        for text in ["C:\\x", "C:/x", "\\\\server\\share", "a", "~", ""] {
            assert_eq!(shown(HostKind::Unix, text), Err(NoPath::Relative), "{text}");
        }
    }

    #[test]
    fn h9_case_counts_on_unix_and_not_on_windows() {
        let behind = |kind: HostKind, path: &str, folder: &str| {
            let folder = kind.read(folder).unwrap();
            kind.read(path).unwrap().within(&folder).map(|rest| rest.join("/"))
        };
        assert_eq!(behind(HostKind::Windows, "c:\\users\\ME\\Src", "C:\\Users\\me"), Some("Src".to_owned()));
        assert_eq!(behind(HostKind::Windows, "C:\\ÉTÉ\\a", "c:\\été"), Some("a".to_owned()));
        assert_eq!(behind(HostKind::Windows, "D:\\Users\\me", "C:\\Users\\me"), None);
        assert_eq!(behind(HostKind::Windows, "/Users/me", "C:\\Users\\me"), None);
        assert_eq!(behind(HostKind::Unix, "/home/ME", "/home/me"), None);
        assert_eq!(behind(HostKind::Unix, "/home/me2", "/home/me"), None);
        assert_eq!(behind(HostKind::Unix, "/home/me", "/home/me"), Some(String::new()));
        assert_eq!(behind(HostKind::Unix, "/home", "/home/me"), None);
    }

    proptest! {
        #[test]
        fn h9_what_is_read_is_read_the_same_again(text in "[a-cC:./\\\\?~ é]{0,16}") {
            for kind in [HostKind::Unix, HostKind::Windows] {
                let Ok(spelled) = kind.read(&text) else { continue };
                prop_assert!(spelled.names().iter().all(|name| !matches!(name.as_str(), "" | "." | "..") && !name.contains('/')));
                // Without a drive, Windows may see one in what is left: `/c/../c` is none.
                prop_assert!(kind.read(&spelled.to_string()).unwrap().is(&spelled));
            }
        }
    }
}
