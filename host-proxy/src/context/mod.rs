//! The docker context of a profile, written by editing the docker CLI's own files, so that no docker CLI is needed and
//! nothing else in them changes. Never touches a context of another engine. Called by `start`, `stop`, `delete`, `context`.
//!
//! Layout, as docker/cli's `cli/context/store` has it: `contexts/meta/<sha256 of the name>/meta.json` below `$DOCKER_CONFIG`
//! (default `~/.docker`), and the member `currentContext` of `config.json` there, absent for `default`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::home::Profile;
use crate::replace::replace;
use crate::sys::files;

mod edit;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 16 << 20;
/// What our contexts say of themselves.
const DESCRIPTION: &str = "lighter: Linux containers in a small virtual machine";

/// Why the context could not be changed. The machine runs all the same.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The user has no home.
    #[error("Nothing says where docker keeps its contexts: set DOCKER_CONFIG or HOME")]
    Nowhere,
    /// A file cannot be read or written.
    #[error("Cannot change docker's file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not JSON.
    #[error(
        "{0} is not valid JSON, so it was left alone: repair it, or choose the engine by `eval \"$(lighter env)\"`"
    )]
    Invalid(PathBuf),
    /// Somebody else's.
    #[error(
        "The docker context `{name}` leads to {endpoint} and is not ours, so it was left alone: \
         remove it by `docker context rm {name}`, or choose the engine by `eval \"$(lighter env)\"`"
    )]
    Foreign {
        /// Its name.
        name: String,
        /// Where it leads.
        endpoint: String,
    },
}

#[derive(Deserialize)]
struct Meta {
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

/// The context of one profile.
#[derive(Debug)]
pub struct Context {
    name: String,
    docker_host: String,
    config: PathBuf,
    meta_dir: PathBuf,
    previous: PathBuf,
}

impl Context {
    /// In the docker configuration that the environment names.
    pub fn of(profile: &Profile) -> Result<Context, ContextError> {
        let variable = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let default =
            || std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".docker"));
        Ok(Context::at(&variable.or_else(default).ok_or(ContextError::Nowhere)?, profile))
    }

    /// In the docker configuration at `docker`.
    pub fn at(docker: &Path, profile: &Profile) -> Context {
        let name = profile.name().context();
        let hash: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Context {
            docker_host: profile.docker_host(),
            config: docker.join("config.json"),
            meta_dir: docker.join("contexts").join("meta").join(hash),
            previous: profile.previous_context(),
            name,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it exists and leads to our profile.
    pub fn exists(&self) -> Result<bool, ContextError> {
        Ok(self.endpoint()?.is_some_and(|endpoint| endpoint == self.docker_host))
    }

    /// The current context's name, as far as the file says.
    pub fn current(&self) -> Result<String, ContextError> {
        let text = match read(&self.config)? {
            Some(text) if !text.trim().is_empty() => text,
            _ => return Ok("default".to_owned()),
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| ContextError::Invalid(self.config.clone()))?;
        let name = value.get("currentContext").and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(if name.is_empty() { "default" } else { name }.to_owned())
    }

    /// Creates it if it is not there; refuses if there is another of its name.
    pub fn create(&self) -> Result<(), ContextError> {
        match self.endpoint()? {
            Some(endpoint) if endpoint == self.docker_host => return Ok(()),
            Some(endpoint) => return Err(ContextError::Foreign { name: self.name.clone(), endpoint }),
            None => (),
        }
        let meta = serde_json::json!({
            "Name": self.name,
            "Metadata": { "Description": DESCRIPTION },
            "Endpoints": { "docker": { "Host": self.docker_host, "SkipTLSVerify": false } },
        });
        let path = self.meta_dir.join("meta.json");
        let write = || {
            // A `~/.docker` that nobody had yet is as private as the docker CLI makes it.
            files::create_private_dir(&self.meta_dir)?;
            replace(&path, meta.to_string().as_bytes())
        };
        write().map_err(|source| ContextError::Io { path, source })
    }

    /// Creates it and makes it the current one, remembering which was.
    pub fn activate(&self) -> Result<(), ContextError> {
        self.create()?;
        let current = self.current()?;
        if current == self.name {
            return Ok(());
        }
        let path = self.previous.clone();
        replace(&path, current.as_bytes()).map_err(|source| ContextError::Io { path, source })?;
        self.make_current(Some(&self.name))
    }

    /// If it is the current one, makes the one current that was so before, as long as that exists.
    pub fn deactivate(&self) -> Result<(), ContextError> {
        if self.current()? == self.name && self.exists()? {
            let previous = fs::read_to_string(&self.previous).unwrap_or_default();
            let contexts = self.meta_dir.parent().unwrap_or(&self.meta_dir);
            let hash: String = Sha256::digest(previous.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            let known = previous != self.name && contexts.join(hash).join("meta.json").exists();
            self.make_current(known.then_some(previous.as_str()))?;
        }
        // Of no use any more; if it stays, it is overwritten the next time.
        let _ = fs::remove_file(&self.previous);
        Ok(())
    }

    /// Removes it, if it is ours.
    pub fn remove(&self) -> Result<(), ContextError> {
        if !self.exists()? {
            return Ok(());
        }
        self.deactivate()?;
        fs::remove_dir_all(&self.meta_dir).map_err(|source| ContextError::Io { path: self.meta_dir.clone(), source })
    }

    /// Variables that make the docker CLI ignore the current context, with their values.
    pub fn overrides(&self) -> Option<String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(host) = set("DOCKER_HOST").filter(|host| *host != self.docker_host) {
            return Some(format!("DOCKER_HOST={host}"));
        }
        let named = set("DOCKER_CONTEXT").filter(|context| *context != self.name)?;
        Some(format!("DOCKER_CONTEXT={named}"))
    }

    /// Where the context of this name leads now; `None` if there is none.
    fn endpoint(&self) -> Result<Option<String>, ContextError> {
        let path = self.meta_dir.join("meta.json");
        let Some(text) = read(&path)? else { return Ok(None) };
        let meta: Meta = serde_json::from_str(&text).map_err(|_| ContextError::Invalid(path))?;
        Ok(Some(meta.endpoints.docker.host))
    }

    fn make_current(&self, name: Option<&str>) -> Result<(), ContextError> {
        let name = name.filter(|name| *name != "default");
        let text = match (read(&self.config)?, name) {
            (Some(text), _) if !text.trim().is_empty() => text,
            (_, None) => return Ok(()),
            _ => "{}".to_owned(),
        };
        let edited =
            edit::set(&text, "currentContext", name).ok_or_else(|| ContextError::Invalid(self.config.clone()))?;
        if edited == text {
            return Ok(());
        }
        replace(&self.config, edited.as_bytes())
            .map_err(|source| ContextError::Io { path: self.config.clone(), source })
    }
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
    use crate::home::{Home, ProfileName};

    struct Place {
        dir: tempfile::TempDir,
        context: Context,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let profile = Home::at(&dir.path().join("home")).unwrap().profile(ProfileName::new("default").unwrap());
        profile.prepare().unwrap();
        fs::create_dir(dir.path().join("docker")).unwrap();
        let context = Context::at(&dir.path().join("docker"), &profile);
        Place { dir, context }
    }

    #[test]
    fn c9_a_linked_config_stays_a_link_and_keeps_its_mode() {
        let place = place();
        let real = place.dir.path().join("real.json");
        fs::write(&real, "{\"psFormat\": \"x\"}").unwrap();
        let mut permissions = fs::metadata(&real).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&real, permissions.clone()).unwrap();
        let link = place.dir.path().join("docker").join("config.json");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        place.context.activate().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{\"currentContext\": \"lighter\",\"psFormat\": \"x\"}");
        assert_eq!(fs::metadata(&real).unwrap().permissions(), permissions);
    }

    #[test]
    fn c9_a_broken_config_is_left_alone() {
        let place = place();
        let config = place.dir.path().join("docker").join("config.json");
        fs::write(&config, "{\"auths\": ").unwrap();
        assert!(matches!(place.context.activate(), Err(ContextError::Invalid(_))));
        assert_eq!(fs::read_to_string(&config).unwrap(), "{\"auths\": ");
    }

    #[test]
    fn c9_a_previous_context_that_is_gone_gives_way_to_the_default() {
        let place = place();
        let config = place.dir.path().join("docker").join("config.json");
        fs::write(&config, "{\"currentContext\": \"gone\"}").unwrap();
        place.context.activate().unwrap();
        assert_eq!(place.context.current().unwrap(), "lighter");
        place.context.deactivate().unwrap();
        assert_eq!(place.context.current().unwrap(), "default");
        place.context.deactivate().unwrap();
    }

    #[test]
    fn c9_a_context_that_somebody_chose_meanwhile_stays() {
        let place = place();
        place.context.activate().unwrap();
        let config = place.dir.path().join("docker").join("config.json");
        fs::write(&config, "{\"currentContext\": \"mine\"}").unwrap();
        place.context.remove().unwrap();
        assert_eq!(place.context.current().unwrap(), "mine");
        assert!(!place.context.exists().unwrap());
    }
}
