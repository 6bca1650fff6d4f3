//! The docker CLI's own files below `$DOCKER_CONFIG` (default `~/.docker`): which contexts there are, which one is current,
//! and what else `config.json` says. Read and changed by `context`, read by `doctor`.
//!
//! Layout, as docker/cli's `cli/context/store` has it: `contexts/meta/<sha256 of the name>/meta.json`, and the member
//! `currentContext` of `config.json`, absent for `default`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{ContextError, edit};
use crate::replace::replace;
use crate::sys::files;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 16 << 20;
/// Most contexts that are listed.
const MOST_CONTEXTS: usize = 200;

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Metadata", default)]
    metadata: serde_json::Value,
    #[serde(rename = "Endpoints", default)]
    endpoints: Endpoints,
}

#[derive(Deserialize, Default)]
struct Endpoints {
    #[serde(default)]
    docker: Endpoint,
}

#[derive(Deserialize, Default)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// A context that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub host: String,
    /// What it says of itself.
    pub description: String,
}

/// The docker CLI's configuration directory.
#[derive(Debug, Clone)]
pub struct DockerFiles {
    dir: PathBuf,
}

impl DockerFiles {
    /// The one that the environment names.
    pub fn from_env() -> Result<DockerFiles, ContextError> {
        let variable = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let default =
            || std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".docker"));
        Ok(DockerFiles::at(&variable.or_else(default).ok_or(ContextError::Nowhere)?))
    }

    /// The one at `dir`.
    pub fn at(dir: &Path) -> DockerFiles {
        DockerFiles { dir: dir.to_owned() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// The text of `config.json`, which is an object; `None` if there is none or it is empty.
    pub fn config_text(&self) -> Result<Option<String>, ContextError> {
        let Some(text) = read(&self.config())?.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) if value.is_object() => Ok(Some(text)),
            _ => Err(ContextError::Invalid(self.config())),
        }
    }

    /// The current context's name, as far as the file says.
    pub fn current(&self) -> Result<String, ContextError> {
        let value = self.config_text()?.and_then(|text| edit::get(&text, "currentContext"));
        let name = value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(if name.is_empty() { "default" } else { name }.to_owned())
    }

    /// Makes the context `name` the current one, or `default`.
    pub fn make_current(&self, name: Option<&str>) -> Result<(), ContextError> {
        let name = name.filter(|name| *name != "default");
        let text = match (self.config_text()?, name) {
            (Some(text), _) => text,
            (None, None) => return Ok(()),
            (None, Some(_)) => "{}".to_owned(),
        };
        let edited = edit::set(&text, "currentContext", name).ok_or_else(|| ContextError::Invalid(self.config()))?;
        self.write_config(&text, &edited)
    }

    /// Takes credential helpers out of `config.json` that are not `installed`; their names.
    pub fn drop_helpers(&self, installed: impl Fn(&str) -> bool) -> Result<Vec<String>, ContextError> {
        let Some(text) = self.config_text()? else { return Ok(Vec::new()) };
        let invalid = || ContextError::Invalid(self.config());
        let mut edited = text.clone();
        let mut dropped = Vec::new();
        for (registry, helper) in helpers(&text).into_iter().filter(|(_, helper)| !installed(helper)) {
            edited = match registry {
                None => edit::set(&edited, "credsStore", None),
                Some(registry) => edit::inside(&edited, "credHelpers", |inner| edit::set(inner, &registry, None)),
            }
            .ok_or_else(invalid)?;
            dropped.push(helper);
        }
        self.write_config(&text, &edited)?;
        Ok(dropped)
    }

    /// Writes `config.json`, if `after` differs from what it was `before`.
    pub(super) fn write_config(&self, before: &str, after: &str) -> Result<(), ContextError> {
        if before == after {
            return Ok(());
        }
        let path = self.config();
        let write = || {
            if !self.dir.exists() {
                files::create_private_dir(&self.dir)?;
            }
            replace(&path, after.as_bytes())
        };
        write().map_err(|source| ContextError::Io { path: path.clone(), source })
    }

    /// Where the docker CLI keeps the context `name`.
    pub fn meta_dir(&self, name: &str) -> PathBuf {
        let hash: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join("contexts").join("meta").join(hash)
    }

    /// The context `name`; `None` if there is none.
    pub fn context(&self, name: &str) -> Result<Option<Known>, ContextError> {
        known(&self.meta_dir(name).join("meta.json"))
    }

    /// All contexts that can be read, by name.
    pub fn contexts(&self) -> Vec<Known> {
        let entries = fs::read_dir(self.dir.join("contexts").join("meta"));
        let paths = entries.into_iter().flatten().flatten().take(MOST_CONTEXTS).map(|entry| entry.path());
        let mut all: Vec<Known> = paths.filter_map(|dir| known(&dir.join("meta.json")).ok().flatten()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// The credential helpers that `config.json` names: for one registry, or `None` for all.
pub fn helpers(config: &str) -> Vec<(Option<String>, String)> {
    let store = edit::get(config, "credsStore").and_then(|store| Some((None, store.as_str()?.to_owned())));
    let each = edit::get(config, "credHelpers").and_then(|each| each.as_object().cloned()).unwrap_or_default();
    let each = each.into_iter().filter_map(|(registry, helper)| Some((Some(registry), helper.as_str()?.to_owned())));
    store.into_iter().chain(each).filter(|(_, helper)| !helper.is_empty()).collect()
}

/// A member of `config.json` as the docker CLI reads it.
pub fn member(config: &str, key: &str) -> Option<serde_json::Value> {
    edit::get(config, key)
}

fn known(path: &Path) -> Result<Option<Known>, ContextError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let meta: Meta = serde_json::from_str(&text).map_err(|_| ContextError::Invalid(path.to_owned()))?;
    let description = meta.metadata.get("Description").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(Some(Known { name: meta.name, host: meta.endpoints.docker.host, description: description.to_owned() }))
}

/// A text file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, ContextError> {
    let failed = |source| ContextError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > LONGEST => {
            return Err(ContextError::Invalid(path.to_owned()));
        }
        Ok(_) => (),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    }
    let bytes = fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| ContextError::Invalid(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: &str) -> (tempfile::TempDir, DockerFiles) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        let files = DockerFiles::at(dir.path());
        (dir, files)
    }

    #[test]
    fn c9_a_helper_left_behind_is_dropped_and_one_that_works_stays() {
        let text = "{\n\t\"auths\": {},\n\t\"credHelpers\": {\"a.example\": \"gone\", \"b.example\": \"pass\"},\n\t\"credsStore\": \"desktop\"\n}";
        let (_dir, files) = place(text);
        let dropped = files.drop_helpers(|helper| helper == "pass").unwrap();
        assert_eq!(dropped, ["desktop", "gone"]);
        let after = fs::read_to_string(files.config()).unwrap();
        assert_eq!(after, "{\n\t\"auths\": {},\n\t\"credHelpers\": { \"b.example\": \"pass\"}\n}");
        assert!(files.drop_helpers(|helper| helper == "pass").unwrap().is_empty());
        assert_eq!(fs::read_to_string(files.config()).unwrap(), after);
    }

    #[test]
    fn c9_the_current_context_is_read_as_the_docker_cli_reads_it() {
        for (config, current) in [
            ("", "default"),
            ("{}", "default"),
            ("{\"currentContext\": \"\"}", "default"),
            ("{\"CurrentContext\": \"colima\"}", "colima"),
            ("{\"currentContext\": 5}", "default"),
        ] {
            let (_dir, files) = place(config);
            assert_eq!(files.current().unwrap(), current, "{config}");
        }
        let (_dir, files) = place("[]");
        assert!(matches!(files.current(), Err(ContextError::Invalid(_))));
    }

    #[cfg(unix)]
    #[test]
    fn c9_contexts_that_cannot_be_read_do_not_hide_the_others() {
        let (dir, files) = place("{}");
        for (name, meta) in [
            ("good", "{\"Name\":\"good\",\"Metadata\":{},\"Endpoints\":{\"docker\":{\"Host\":\"unix:///x\"}}}"),
            ("null", "{\"Name\":\"null\",\"Endpoints\":null}"),
            ("half", "{\"Name\":"),
        ] {
            let meta_dir = files.meta_dir(name);
            fs::create_dir_all(&meta_dir).unwrap();
            fs::write(meta_dir.join("meta.json"), meta).unwrap();
        }
        std::os::unix::fs::symlink("/nonexistent", dir.path().join("contexts/meta/dangling")).unwrap();
        let good = Known { name: "good".to_owned(), host: "unix:///x".to_owned(), description: String::new() };
        assert_eq!(files.contexts(), std::slice::from_ref(&good));
        assert_eq!(files.context("good").unwrap(), Some(good));
        assert_eq!(files.context("missing").unwrap(), None);
        assert!(files.context("half").is_err());
    }
}
