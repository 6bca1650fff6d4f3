//! The proxies that the docker CLI gives to containers and builds: one entry of `proxies` in its `config.json`, under our own
//! endpoint and nobody else's. Called by `cli::attach` when a machine has started, and when the context goes.
//!
//! docker/cli's `ConfigFile.ParseProxyConfig` looks for the entry whose name is the engine's address, which with a context is
//! that context's `Host` as it stands, and takes `default` only if there is none; compose and buildx do the same. An entry of
//! ours would therefore hide a `default` of the user's, so where there is one we write none.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Context, ContextError, edit};
use crate::replace::replace;

const MEMBER: &str = "proxies";

/// What became of the proxies for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// The docker CLI gives them.
    Ours,
    /// There are none of ours.
    None,
    /// The user's own settings say what containers get.
    TheUsers,
}

/// How an entry of ours is told from one of the user's: by hash, because it may hold a password.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Those that may stand there: what was written last, and before that.
    hashes: Vec<String>,
    /// Whether `proxies` itself was not there before.
    made: bool,
}

impl Context {
    /// Makes the docker CLI give `entry` to containers of our endpoint, or nothing of ours any more.
    pub fn give_proxies(&self, entry: Option<&Value>) -> Result<Given, ContextError> {
        let before = self.files.config_text()?;
        let text = before.clone().unwrap_or_else(|| "{}".to_owned());
        let member = edit::get(&text, MEMBER);
        let there = member.as_ref().and_then(|proxies| proxies.get(&self.docker_host));
        let mut note = self.note();
        if there.is_some_and(|there| !note.hashes.contains(&hash(there))) {
            return Ok(Given::TheUsers);
        }
        let default = member.as_ref().and_then(|proxies| proxies.get("default")).is_some_and(|entry| !entry.is_null());
        let Some(entry) = entry.filter(|_| !default) else {
            if there.is_some() {
                self.files.write_config(&text, &self.without_entry(&text, note.made)?)?;
            }
            // What it says is true of nothing any more.
            let _ = fs::remove_file(&self.proxy_note);
            return Ok(if default { Given::TheUsers } else { Given::None });
        };
        if there.is_none() {
            note = Note { hashes: Vec::new(), made: member.is_none() };
        }
        // Before the entry itself: one that is written and not known as ours would stay for ever.
        note.hashes = there.map(hash).into_iter().chain([hash(entry)]).collect();
        let path = self.proxy_note.clone();
        let noted = serde_json::to_vec(&note).map_err(std::io::Error::other).and_then(|json| replace(&path, &json));
        noted.map_err(|source| ContextError::Io { path, source })?;
        let edited = if member.is_none() {
            edit::set_in_map(&text, MEMBER, Some(&serde_json::json!({ &self.docker_host: entry })))
        } else {
            edit::inside(&text, MEMBER, |inner| edit::set_in_map(inner, &self.docker_host, Some(entry)))
        };
        let edited = edited.ok_or_else(|| ContextError::Invalid(self.files.config()))?;
        self.files.write_config(&before.unwrap_or_default(), &edited)?;
        Ok(Given::Ours)
    }

    fn without_entry(&self, text: &str, made: bool) -> Result<String, ContextError> {
        let invalid = || ContextError::Invalid(self.files.config());
        let edited = edit::inside(text, MEMBER, |inner| edit::set_in_map(inner, &self.docker_host, None));
        let edited = edited.ok_or_else(invalid)?;
        let empty = edit::get(&edited, MEMBER).and_then(|proxies| Some(proxies.as_object()?.is_empty()));
        if made && empty == Some(true) { edit::set(&edited, MEMBER, None).ok_or_else(invalid) } else { Ok(edited) }
    }

    fn note(&self) -> Note {
        // Without a note that can be read nothing there is known to be ours.
        fs::read(&self.proxy_note).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }
}

fn hash(entry: &Value) -> String {
    Sha256::digest(entry.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::{Place, place};

    fn with(config: Option<&str>) -> Place {
        let place = place();
        if let Some(config) = config {
            fs::write(place.config(), config).unwrap();
        }
        place
    }

    impl Place {
        fn text(&self) -> String {
            fs::read_to_string(self.config()).unwrap_or_default()
        }
        fn host(&self) -> &str {
            &self.context.docker_host
        }
    }

    fn entry(port: u16) -> Value {
        serde_json::json!({ "httpProxy": format!("http://me:secret@proxy:{port}") })
    }

    #[test]
    fn c9_the_proxies_of_our_endpoint_come_change_and_go_and_no_other_byte_with_them() {
        for config in [
            "{\n\t\"auths\": {},\n\t\"n\": 12345678901234567890.5\n}\n",
            "{\"proxies\": {}}",
            "{\"proxies\": {\"unix:///other.sock\": {\"httpProxy\": \"x\"}}, \"a\": 1}",
            "{}",
        ] {
            let place = with(Some(config));
            assert_eq!(place.context.give_proxies(Some(&entry(1))).unwrap(), Given::Ours);
            assert_eq!(place.context.give_proxies(Some(&entry(2))).unwrap(), Given::Ours);
            let now: Value = serde_json::from_str(&place.text()).unwrap();
            assert_eq!(now["proxies"][place.host()], entry(2), "{config}");
            assert_eq!(place.context.give_proxies(None).unwrap(), Given::None);
            let (now, was): (Value, Value) =
                (serde_json::from_str(&place.text()).unwrap(), serde_json::from_str(config).unwrap());
            assert_eq!(now, was, "{config}");
            assert!(config.len() < 20 || place.text() == config, "{:?} was {config:?}", place.text());
            assert!(!place.context.proxy_note.exists());
        }
    }

    #[test]
    fn c9_entries_of_the_users_are_never_touched() {
        let place = with(None);
        let own = format!("{{\"proxies\": {{\"{}\": {{\"httpProxy\": \"mine\"}}}}}}", place.host());
        let default = "{\"proxies\": {\"default\": {\"httpProxy\": \"mine\"}}}";
        for config in [own.as_str(), default] {
            fs::write(place.dir.path().join("docker/config.json"), config).unwrap();
            assert_eq!(place.context.give_proxies(Some(&entry(1))).unwrap(), Given::TheUsers);
            place.context.give_proxies(None).unwrap();
            assert_eq!(place.text(), config);
        }
    }

    #[test]
    fn c9_an_entry_of_ours_that_the_user_has_changed_or_shadowed_is_the_users() {
        let place = with(Some("{}"));
        place.context.give_proxies(Some(&entry(1))).unwrap();
        let changed = place.text().replace("proxy:1", "proxy:99");
        fs::write(place.dir.path().join("docker/config.json"), &changed).unwrap();
        assert_eq!(place.context.give_proxies(Some(&entry(2))).unwrap(), Given::TheUsers);
        place.context.deactivate().unwrap();
        assert_eq!(place.text(), changed);
        // A default that came later counts, and ours goes.
        let place = with(Some("{}"));
        place.context.give_proxies(Some(&entry(1))).unwrap();
        let with_default =
            edit::inside(&place.text(), "proxies", |inner| edit::set_in_map(inner, "default", Some(&entry(7))));
        fs::write(place.dir.path().join("docker/config.json"), with_default.unwrap()).unwrap();
        assert_eq!(place.context.give_proxies(Some(&entry(1))).unwrap(), Given::TheUsers);
        assert_eq!(
            serde_json::from_str::<Value>(&place.text()).unwrap(),
            serde_json::json!({"proxies": {"default": entry(7)}})
        );
    }

    #[test]
    fn c9_the_context_takes_its_proxies_with_it_and_no_password_stands_elsewhere() {
        let place = with(None);
        place.context.activate().unwrap();
        place.context.give_proxies(Some(&entry(1))).unwrap();
        assert!(!fs::read_to_string(&place.context.proxy_note).unwrap().contains("secret"));
        // The docker CLI writes the file in its own layout at `docker login`.
        let value: Value = serde_json::from_str(&place.text()).unwrap();
        fs::write(place.dir.path().join("docker/config.json"), serde_json::to_string_pretty(&value).unwrap()).unwrap();
        place.context.remove().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&place.text()).unwrap(), serde_json::json!({}));
    }
}
