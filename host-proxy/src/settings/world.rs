//! The keys of `config.toml` that tell of the network world which the user lives in: proxies, registries, and whom to trust.
//! Read by `parse`, checked by `Settings::new`; the daemon makes of them what the agent is told.

use std::path::{Path, PathBuf};

use lighter_protocol::EngineSettings;
use serde::{Deserialize, Serialize};

use super::SettingsError;
use super::proxy::{BadProxy, InForce, ProxyWish, ProxyWords};
use super::registries;
use super::url::{Url, without_logins};
use crate::net::{HOST_V4, HostAccess};
use crate::shares::spelling::HostKind;
use crate::sys::HOST_KIND;

/// The keys.
pub const KEYS: [&str; 5] =
    ["proxy", "container_proxies", "registry_mirrors", "insecure_registries", "ca_certificates"];
/// Longest list.
const MOST: usize = 64;
/// Longest entry of one, in bytes.
const LONGEST: usize = 1024;

/// What was asked for; `None` where the user does not mind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorldWishes {
    /// Proxies.
    pub proxy: Option<ProxyWish>,
    /// Whether the docker CLI is told to give containers the same proxies.
    pub container_proxies: Option<bool>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Option<Vec<String>>,
    /// Registries without TLS.
    pub insecure_registries: Option<Vec<String>>,
    /// Files with root certificates.
    pub ca_certificates: Option<Vec<String>>,
}

impl WorldWishes {
    /// `self` where it says something, else `below`.
    pub fn over(&self, below: &WorldWishes) -> WorldWishes {
        let either = |own: &Option<Vec<String>>, below: &Option<Vec<String>>| own.as_ref().or(below.as_ref()).cloned();
        WorldWishes {
            proxy: self.proxy.as_ref().or(below.proxy.as_ref()).cloned(),
            container_proxies: self.container_proxies.or(below.container_proxies),
            registry_mirrors: either(&self.registry_mirrors, &below.registry_mirrors),
            insecure_registries: either(&self.insecure_registries, &below.insecure_registries),
            ca_certificates: either(&self.ca_certificates, &below.ca_certificates),
        }
    }

    /// Takes `key` if it is one of ours; whether it was.
    pub(super) fn take(&mut self, key: &str, value: &toml::Value, path: &Path) -> Result<bool, SettingsError> {
        let list = |key| {
            texts(value).ok_or_else(|| wrong(path, key, value, "expected a list of texts such as [\"a\", \"b\"]"))
        };
        match key {
            "proxy" => self.proxy = Some(proxy(value, path)?),
            "container_proxies" => {
                let choice = value.as_bool();
                let wrong = || wrong(path, "container_proxies", value, "expected true or false");
                self.container_proxies = Some(choice.ok_or_else(wrong)?);
            }
            "registry_mirrors" => self.registry_mirrors = Some(list("registry_mirrors")?),
            "insecure_registries" => self.insecure_registries = Some(list("insecure_registries")?),
            "ca_certificates" => self.ca_certificates = Some(list("ca_certificates")?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn wrong(path: &Path, key: &'static str, value: &toml::Value, expected: &'static str) -> SettingsError {
    // It may be a proxy's URL in the wrong place.
    let value = without_logins(&value.to_string()).chars().take(60).collect();
    SettingsError::Type { path: path.to_owned(), key, value, expected }
}

fn proxy(value: &toml::Value, path: &Path) -> Result<ProxyWish, SettingsError> {
    let expected = "expected \"off\", or a table such as [proxy] with http = \"http://proxy:3128\"";
    let table = match value {
        toml::Value::String(word) if word == "off" => return Ok(ProxyWish::Off),
        toml::Value::Table(table) => table,
        other => return Err(wrong(path, "proxy", other, expected)),
    };
    let mut words = ProxyWords::default();
    for (key, value) in table {
        let (name, word) = match key.as_str() {
            "http" => ("proxy.http", &mut words.http),
            "https" => ("proxy.https", &mut words.https),
            "all" => ("proxy.all", &mut words.all),
            "no_proxy" => {
                let list = texts(value).map(|list| list.join(","));
                let text = list.or_else(|| value.as_str().map(str::to_owned));
                let expected = "expected a text such as \"localhost,.corp.example\", or a list of such";
                words.no_proxy = Some(text.ok_or_else(|| wrong(path, "proxy.no_proxy", value, expected))?);
                continue;
            }
            unknown => {
                let key: String = unknown.chars().take(60).collect();
                let hint = "known are http, https, all, no_proxy".to_owned();
                return Err(SettingsError::UnknownKey { path: path.to_owned(), key: format!("proxy.{key}"), hint });
            }
        };
        let text = value.as_str().map(str::to_owned);
        *word = Some(text.ok_or_else(|| wrong(path, name, value, "expected a text such as \"http://proxy:3128\""))?);
    }
    Ok(ProxyWish::Table(words))
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A world that dockerd can be told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    proxy: Option<ProxyWish>,
    /// Whether the docker CLI is told to give containers the same proxies.
    pub container_proxies: bool,
    mirrors: Vec<Url>,
    insecure: Vec<String>,
    /// Files with root certificates.
    pub ca_certificates: Vec<PathBuf>,
}

impl World {
    /// Checks every value. `config` is named in messages.
    pub fn new(wishes: &WorldWishes, config: &Path) -> Result<World, SettingsError> {
        let refuse = |key: &'static str, value: &str, reason: String| {
            let value = without_logins(value).chars().take(120).collect();
            SettingsError::Value { key, value, reason, config: config.to_owned() }
        };
        if let Some(ProxyWish::Table(words)) = &wishes.proxy {
            InForce::of_table(words).map_err(|bad| {
                let key = match bad.key {
                    "http" => "proxy.http",
                    "https" => "proxy.https",
                    "all" => "proxy.all",
                    _ => "proxy.no_proxy",
                };
                refuse(key, &bad.shown, bad.reason)
            })?;
        }
        let mirrors = each(&wishes.registry_mirrors, registries::mirror);
        let insecure = each(&wishes.insecure_registries, registries::insecure);
        let certificates = each(&wishes.ca_certificates, certificate_path);
        Ok(World {
            proxy: wishes.proxy.clone(),
            container_proxies: wishes.container_proxies.unwrap_or(true),
            mirrors: mirrors.map_err(|(value, reason)| refuse("registry_mirrors", &value, reason))?,
            insecure: insecure.map_err(|(value, reason)| refuse("insecure_registries", &value, reason))?,
            ca_certificates: certificates.map_err(|(value, reason)| refuse("ca_certificates", &value, reason))?,
        })
    }

    /// The proxies in force, and what in the environment is of no use.
    pub fn proxies(&self, environment: &ProxyWords) -> (InForce, Vec<BadProxy>) {
        InForce::new(self.proxy.as_ref(), environment)
    }

    /// What the agent is told, but for certificates. `host_access` is what the guest reaches of the host.
    pub fn orders(&self, environment: &ProxyWords, host_access: HostAccess) -> EngineSettings {
        let mut insecure_registries = registries::all_insecure(&self.insecure, &self.mirrors);
        if host_access != HostAccess::No {
            // dockerd takes a registry on 127.0.0.0/8 without TLS, because nobody is in between; nor is here.
            insecure_registries.push(format!("{HOST_V4}/32"));
        }
        EngineSettings {
            proxies: self.proxies(environment).0.for_engine(),
            registry_mirrors: self.mirrors.iter().map(Url::secret_text).collect(),
            insecure_registries,
            certificate_frames: 0,
        }
    }

    /// What will not work as it stands, for people.
    pub fn warnings(&self, environment: &ProxyWords, host_access: HostAccess) -> Vec<String> {
        let (proxies, bad) = self.proxies(environment);
        let mut warnings: Vec<String> = bad
            .iter()
            .map(|bad| {
                let name = format!("{}_PROXY", bad.key.trim_end_matches("_proxy").to_ascii_uppercase());
                format!("{name} in the environment is left out: {}", bad.reason)
            })
            .collect();
        if let Some(url) = proxies.on_loopback().filter(|url| !host_access.allows(url.endpoint().1)) {
            warnings.push(format!(
                "The proxy {url} is on this computer, on a port that `host_access` closes to the machine: pulls will fail"
            ));
        }
        warnings
    }
}

/// Checks each text of a list; the first bad one and why.
fn each<T>(list: &Option<Vec<String>>, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, (String, String)> {
    let list = list.as_deref().unwrap_or_default();
    if list.len() > MOST {
        return Err((format!("a list of {}", list.len()), format!("it may have {MOST} entries")));
    }
    let checked = list.iter().map(|text| {
        let long = (text.len() > LONGEST).then(|| format!("an entry is longer than {LONGEST} bytes"));
        long.map_or_else(|| check(text), Err).map_err(|reason| (format!("\"{text}\""), reason))
    });
    checked.collect()
}

/// A path that means the same to everybody who reads it.
fn certificate_path(text: &str) -> Result<PathBuf, String> {
    let path = match text.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => PathBuf::from(text),
    };
    if text.contains('\0') || !path.is_absolute() {
        let example = match HOST_KIND {
            HostKind::Unix => "\"/etc/ssl/corp.pem\"",
            // In these a backslash is one.
            HostKind::Windows => r"'C:\certificates\corp.pem'",
        };
        return Err(format!("write the file's whole path, as in {example} or \"~/corp.pem\""));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Host, Settings, Wishes, load};

    fn loaded(text: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let host = Host { cpus: 8, memory: None };
        let settings = load(&path).and_then(|wishes| Settings::new(&wishes, host, &path));
        settings.map_err(|error| crate::daemon::fault::chain(&error))
    }

    fn no_environment() -> ProxyWords {
        ProxyWords::default()
    }

    #[test]
    fn c1_the_keys_of_the_world_are_read_in_every_form() {
        let certificate = std::path::absolute("/a b.pem").unwrap();
        let text = format!(
            "registry_mirrors = [\"http://m:5000\"]\ninsecure_registries = [\"r:1\", \"10.0.0.0/8\"]\n\
             ca_certificates = ['{}']\ncontainer_proxies = false\n\
             [proxy]\nhttp = \"p:1\"\nno_proxy = [\"a\", \"b\"]\n",
            certificate.display()
        );
        let world = loaded(&text).unwrap().world;
        assert!(!world.container_proxies);
        assert_eq!(world.ca_certificates, [certificate]);
        let orders = world.orders(&no_environment(), HostAccess::All);
        assert_eq!(orders.registry_mirrors, ["http://m:5000"]);
        assert_eq!(orders.insecure_registries, ["r:1", "10.0.0.0/8", "m:5000", "192.168.127.3/32"]);
        assert_eq!(orders.proxies.http.as_deref(), Some("http://p:1"));
        assert_eq!(orders.proxies.no_proxy.as_deref(), Some("a,b,localhost,127.0.0.0/8,::1,host.docker.internal"));
        assert!(loaded("proxy = \"off\"").unwrap().world.proxies(&no_environment()).0.is_none());
        assert!(
            !loaded("")
                .unwrap()
                .world
                .orders(&no_environment(), HostAccess::No)
                .insecure_registries
                .iter()
                .any(|r| r.contains("192.168"))
        );
    }

    #[test]
    fn c1_bad_values_name_key_cause_and_cure_and_no_password() {
        for (text, words) in [
            ("proxy = \"http://me:secret@p\"", "expected \"off\", or a table"),
            ("proxy = true", "expected \"off\", or a table"),
            ("[proxy]\nhtp = \"http://me:secret@p\"", "unknown key `proxy.htp`: known are http"),
            ("[proxy]\nhttp = 3128", "`proxy.http = 3128`: expected a text"),
            ("[proxy]\nhttps = \"ftp://me:secret@p:1\"", "proxy.https cannot be p:1: its scheme"),
            ("[proxy]\nall = \"http://me:secret/@p:1\"", "proxy.all cannot be p:1"),
            ("[proxy]\nno_proxy = 1", "proxy.no_proxy"),
            ("[proxy]\nhttp = \"http://me:secret@p", "not valid TOML"),
            ("proxy = { http = http://me:secret@p }", "not valid TOML"),
            ("registry_mirrors = \"m\"", "expected a list of texts"),
            (
                "registry_mirrors = [\"mirror.corp\"]",
                "registry_mirrors cannot be \"mirror.corp\": it begins with no scheme",
            ),
            ("registry_mirrors = [\"https://me:secret@m\"]", "no user and password"),
            (
                "insecure_registries = [\"http://r\"]",
                "insecure_registries cannot be \"http://r\": write host and port only",
            ),
            ("insecure_registries = [1]", "expected a list of texts"),
            ("ca_certificates = [\"corp.pem\"]", "write the file's whole path"),
            ("container_proxies = 1", "expected true or false"),
            ("insecure_registry = []", "did you mean `insecure_registries`?"),
        ] {
            let message = loaded(text).unwrap_err();
            assert!(message.contains(words), "{words:?} is not in {message:?}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(
            loaded(&format!("registry_mirrors = [{}]", "\"https://m\",".repeat(65)))
                .unwrap_err()
                .contains("64 entries")
        );
    }

    #[test]
    fn c9_a_proxy_behind_a_closed_door_is_warned_of() {
        let world = loaded("[proxy]\nhttp = \"http://me:secret@localhost:3128\"").unwrap().world;
        assert_eq!(world.warnings(&no_environment(), HostAccess::Unprivileged), Vec::<String>::new());
        let warnings = world.warnings(&no_environment(), HostAccess::No);
        assert!(warnings[0].contains("http://localhost:3128") && warnings[0].contains("host_access"), "{warnings:?}");
        let bad = ProxyWords { https: Some("gopher://me:secret@x".to_owned()), ..ProxyWords::default() };
        let warnings = World::default().warnings(&bad, HostAccess::No);
        assert!(
            warnings[0].starts_with("HTTPS_PROXY in the environment is left out") && !warnings[0].contains("secret")
        );
    }

    #[test]
    fn c9_flags_keep_what_the_file_says_of_the_world() {
        let file = Wishes {
            world: Box::new(WorldWishes {
                container_proxies: Some(false),
                registry_mirrors: Some(vec![]),
                ..WorldWishes::default()
            }),
            ..Wishes::default()
        };
        assert_eq!(Wishes::default().over(&file), file);
    }
}
