//! Reads `config.toml`: each key is checked by hand so that a message names the key, what stands there and what could.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::url::without_logins;
use super::{Engine, Publish, Wishes, world};
use crate::net::HostAccess;

/// Longest file that is looked at, in bytes; ours has ten lines.
const LONGEST: u64 = 256 * 1024;
const KEYS: [&str; 10] = [
    "cpus",
    "memory",
    "disk",
    "engine",
    "answer_while_stopped",
    "network",
    "host_access",
    "publish",
    "mounts",
    "map_files",
];

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Cannot be read.
    #[error("Cannot read {path}: make it yours and readable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a text file of a sensible size.
    #[error("{path} is not a settings file ({reason}): move it away, and a fresh one is written at the next start")]
    NotText {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: &'static str,
    },
    /// Not TOML.
    #[error("{path} is not valid TOML: repair it, or move it away and a fresh one is written")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A key that means nothing.
    #[error("{path} has an unknown key `{key}`: {hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Which one may be meant.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("{path} says `{key} = {value}`: {expected}")]
    Type {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What could.
        expected: &'static str,
    },
    /// A value that does not fit.
    #[error("{key} cannot be {value}: {reason} ({}in {config})", by_flag(.key))]
    Value {
        /// The key.
        key: &'static str,
        /// What was asked for.
        value: String,
        /// What could be.
        reason: String,
        /// The settings file.
        config: PathBuf,
    },
    /// Cannot be written.
    #[error("Cannot write {path}: make it yours and writable")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is written in a way that cannot be changed line by line.
    #[error("Cannot write the flags into {0} line by line: please edit it")]
    Uneditable(PathBuf),
}

/// The wishes in the file at `path`; none if there is no file.
pub fn load(path: &Path) -> Result<Wishes, SettingsError> {
    match read(path)? {
        Some(text) => parse(&text, path),
        None => Ok(Wishes::default()),
    }
}

/// The file's text, without a byte order mark; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let not_text = |reason| SettingsError::NotText { path: path.to_owned(), reason };
    match std::fs::metadata(path) {
        // Asked before it is opened: opening a named pipe would wait for a writer.
        Ok(metadata) if !metadata.is_file() => return Err(not_text("not a regular file")),
        Ok(metadata) if metadata.len() > LONGEST => return Err(not_text("longer than 256 KiB")),
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| not_text("not UTF-8"))?;
    if text.contains('\0') {
        return Err(not_text("binary"));
    }
    Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
}

/// The wishes in `text`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Wishes, SettingsError> {
    let syntax = |source| SettingsError::Syntax { path: path.to_owned(), source: Box::new(unsecret(source, text)) };
    let table: toml::Table = toml::from_str(text).map_err(syntax)?;
    let wrong = |key, value: &toml::Value, expected| SettingsError::Type {
        path: path.to_owned(),
        key,
        value: value.to_string().chars().take(60).collect(),
        expected,
    };
    let choice = |key, value: &toml::Value| value.as_bool().ok_or_else(|| wrong(key, value, "expected true or false"));
    let mut wishes = Wishes::default();
    for (key, value) in &table {
        match key.as_str() {
            "cpus" => {
                let count =
                    value.as_integer().ok_or_else(|| wrong("cpus", value, "expected a whole number such as 2"))?;
                wishes.cpus = Some(count);
            }
            "memory" => {
                let size = number(value);
                wishes.memory = Some(size.ok_or_else(|| wrong("memory", value, "expected a number of GiB such as 2"))?);
            }
            "disk" => {
                let size = number(value);
                wishes.disk = Some(size.ok_or_else(|| wrong("disk", value, "expected a number of GiB such as 60"))?);
            }
            "engine" => {
                let named =
                    |name: &str| Engine::NAMES.iter().find(|(known, _)| *known == name).map(|(_, engine)| *engine);
                let expected = "expected one of \"auto\", \"kvm\", \"whp\", \"hvf\", \"software\"";
                wishes.engine = Some(value.as_str().and_then(named).ok_or_else(|| wrong("engine", value, expected))?);
            }
            "answer_while_stopped" => wishes.answer_while_stopped = Some(choice("answer_while_stopped", value)?),
            "map_files" => wishes.map_files = Some(choice("map_files", value)?),
            "network" => wishes.network = Some(choice("network", value)?),
            "host_access" => {
                let expected = "expected false, true (ports from 1024 on) or \"all\"";
                wishes.host_access = Some(access(value).ok_or_else(|| wrong("host_access", value, expected))?);
            }
            "publish" => {
                let named = |name: &str| Publish::NAMES.iter().find(|(known, _)| *known == name).map(|known| known.1);
                let expected = "expected \"localhost\" or \"as-asked\"";
                let publish = value.as_str().and_then(named);
                wishes.publish = Some(publish.ok_or_else(|| wrong("publish", value, expected))?);
            }
            "mounts" => {
                let list = value.as_array().map(|list| list.iter().map(|text| text.as_str().map(str::to_owned)));
                let list = list.and_then(|list| list.collect::<Option<Vec<String>>>());
                let expected = "expected a list of folders such as [\"~/src:w\", \"/srv/data\"]";
                wishes.mounts = Some(list.ok_or_else(|| wrong("mounts", value, expected))?);
            }
            ours if wishes.world.take(ours, value, path)? => {}
            unknown => {
                let key: String = unknown.chars().take(60).collect();
                return Err(SettingsError::UnknownKey { path: path.to_owned(), hint: hint(&key), key });
            }
        }
    }
    Ok(wishes)
}

/// For a key that `lighter start` has a flag for.
fn by_flag(key: &str) -> &'static str {
    if ["cpus", "memory", "disk", "engine", "mounts"].contains(&key) { "by flag or " } else { "" }
}

fn access(value: &toml::Value) -> Option<HostAccess> {
    match value {
        toml::Value::Boolean(false) => Some(HostAccess::No),
        toml::Value::Boolean(true) => Some(HostAccess::Unprivileged),
        toml::Value::String(word) if word == "all" => Some(HostAccess::All),
        _ => None,
    }
}

/// The error that the same text gives without the passwords of its proxies, because it shows the line that it is about.
fn unsecret(error: toml::de::Error, text: &str) -> toml::de::Error {
    let safe = without_logins(text);
    if safe == text {
        return error;
    }
    let again = toml::from_str::<toml::Table>(&safe).err();
    again.unwrap_or_else(|| <toml::de::Error as serde::de::Error>::custom("a proxy's user or password is not quoted"))
}

fn number(value: &toml::Value) -> Option<f64> {
    match value {
        toml::Value::Integer(number) => Some(*number as f64),
        toml::Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn hint(key: &str) -> String {
    let keys = [&KEYS[..], &world::KEYS[..]].concat();
    let likely = keys.iter().find(|known| key.starts_with(&known[..3]) || distance(key, known) <= 2);
    likely.map_or_else(|| format!("known are {}", keys.join(", ")), |known| format!("did you mean `{known}`?"))
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.chars().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(left != right)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{GIB, Host, Settings};

    const HOST: Host = Host { cpus: 8, memory: Some((16 * GIB, 4 * GIB)) };

    fn loaded(bytes: &[u8]) -> Result<Wishes, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, bytes).unwrap();
        load(&path).map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| source.to_string()).unwrap_or_default();
            format!("{error} {source}")
        })
    }

    fn settings(wishes: Wishes) -> Result<Settings, String> {
        Settings::new(&wishes, HOST, Path::new("config.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn c1_toml_empty_bom_crlf_and_missing_are_fine() {
        let full = Wishes {
            cpus: Some(2),
            memory: Some(2.0),
            disk: Some(1.5),
            engine: Some(Engine::Kvm),
            answer_while_stopped: Some(false),
            network: Some(true),
            host_access: Some(HostAccess::No),
            publish: Some(Publish::AsAsked),
            mounts: Some(vec!["~".to_owned(), "/a b:w".to_owned()]),
            map_files: Some(true),
            ..Wishes::default()
        };
        assert_eq!(loaded(b"").unwrap(), Wishes::default());
        let text =
            b"\xef\xbb\xbfcpus = 2\r\nmemory = 2\r\ndisk = 1.5\r\nengine = 'kvm'\r\nanswer_while_stopped = false\r\nnetwork = true\r\nhost_access = false\r\npublish = 'as-asked'\r\nmounts = ['~', \"/a b:w\"]\r\nmap_files = true";
        assert_eq!(loaded(text).unwrap(), full);
        assert_eq!(load(Path::new("/nonexistent/config.toml")).unwrap(), Wishes::default());
        for access in [HostAccess::No, HostAccess::Unprivileged, HostAccess::All] {
            let text = format!("host_access = {}", access.in_toml());
            assert_eq!(loaded(text.as_bytes()).unwrap().host_access, Some(access));
        }
        let defaults = settings(Wishes::default()).unwrap();
        assert_eq!((defaults.network, defaults.host_access), (true, HostAccess::Unprivileged));
        assert!(!defaults.map_files);
    }

    #[test]
    fn c1_toml_bad_files_name_cause_and_cure() {
        for (bytes, words) in [
            (&b"\x7fELF\x02\x01\0\0"[..], "binary"),
            (b"cpus = 2 # \xff", "not UTF-8"),
            (b"cpu = 2", "did you mean `cpus`?"),
            (b"memroy = 2", "did you mean `memory`?"),
            (b"[volumes]\nx = 1", "known are cpus, memory, disk, engine"),
            (b"[mounts]\nx = 1", "expected a list of folders such as [\"~/src:w\""),
            (b"mounts = '/src'", "expected a list of folders"),
            (b"mounts = [1]", "expected a list of folders"),
            (b"mount = ['/src']", "did you mean `mounts`?"),
            (b"answer_while_asleep = true", "did you mean `answer_while_stopped`?"),
            (b"answer_while_stopped = 'no'", "expected true or false"),
            (b"map_files = 1", "expected true or false"),
            (b"map_file = true", "did you mean `map_files`?"),
            (b"host_access = 0", "expected false, true"),
            (b"host_access = 'some'", "or \"all\""),
            (b"host_acces = false", "did you mean `host_access`?"),
            (b"publish = 'lan'", "expected \"localhost\" or \"as-asked\""),
            (b"publish = true", "expected \"localhost\" or \"as-asked\""),
            (b"memory = \"8 GB\"", "expected a number of GiB such as 2"),
            (b"cpus = 2.5", "expected a whole number"),
            (b"engine = 'qemu'", "expected one of \"auto\""),
            (b"cpus = 1\ncpus = 2", "duplicate key"),
            (b"cpus = ", "line 1"),
            (b"cpus = 99999999999999999999", "valid TOML"),
        ] {
            let message = loaded(bytes).unwrap_err();
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
    }

    #[test]
    fn c1_toml_huge_deep_and_special_files_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("longer than 256 KiB"));
        assert!(load(dir.path()).unwrap_err().to_string().contains("not a regular file"));
        let deep = format!("cpus = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(loaded(deep.as_bytes()).is_err());
    }

    #[test]
    fn c2_numbers_that_no_host_can_give_are_refused_by_name() {
        for cpus in [0, -1, 9, 256, i64::MAX, i64::MIN] {
            let message = settings(Wishes { cpus: Some(cpus), ..Wishes::default() }).unwrap_err();
            assert!(message.contains("cpus cannot be") && message.contains("1 to 8"), "{message}");
        }
        for memory in [0.0, -1.0, 0.4, 17.0, f64::NAN, f64::INFINITY, 9.3e18] {
            let message = settings(Wishes { memory: Some(memory), ..Wishes::default() }).unwrap_err();
            assert!(message.contains("memory cannot be") && message.contains("0.5 to 16.0 GiB"), "{message}");
        }
        for disk in [0.0, -1.0, 0.5, f64::NAN, 1e9, 9.3e18] {
            let message = settings(Wishes { disk: Some(disk), ..Wishes::default() }).unwrap_err();
            assert!(message.contains("disk cannot be"), "{message}");
        }
    }

    #[test]
    fn c2_sizes_become_whole_pages_and_defaults_fit_the_host() {
        let exact = settings(Wishes { memory: Some(2.503), disk: Some(20.0), ..Wishes::default() }).unwrap();
        assert_eq!(exact.memory_bytes % (2 << 20), 0);
        assert!(exact.memory_bytes <= 2_687_575_916 && exact.memory_bytes > 2 * GIB);
        assert_eq!(exact.disk_bytes, Some(20 * GIB));
        let default = settings(Wishes::default()).unwrap();
        assert_eq!((default.cpus, default.memory_bytes, default.disk_bytes), (4, 2 * GIB, None));
        assert!(default.memory_warning(HOST).is_none());
        let greedy = settings(Wishes { memory: Some(8.0), ..Wishes::default() }).unwrap();
        assert!(greedy.memory_warning(HOST).unwrap().contains("4.0 GiB are free"));
    }
}
