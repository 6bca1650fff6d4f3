//! The docker context of a profile, written by editing the docker CLI's own files, so that no docker CLI is needed and
//! nothing else in them changes. Never touches a context of another engine. Called by `start`, `stop`, `delete`, `context`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::home::{self, Profile};
use crate::replace::replace;
use crate::sys::files as sys_files;
use crate::sys::terminal::in_this_shell;

mod edit;
/// The docker CLI's own files.
pub mod files;
/// The proxies that the docker CLI gives to containers.
mod proxies;
/// The socket that every Docker client tries first.
pub mod socket;

use files::{DockerFiles, Known};
pub use proxies::Given;

/// What our contexts say of themselves.
const DESCRIPTION: &str = "lighter: Linux containers in a small virtual machine";

/// Why the context could not be changed. The machine runs all the same.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The user has no home.
    #[error("Nothing says where docker keeps its contexts: set DOCKER_CONFIG or HOME")]
    Nowhere,
    /// A file cannot be read or written.
    #[error(
        "Cannot use docker's file {path}: make it yours and writable, or choose the engine by `{choose}`",
        choose = in_this_shell("")
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not JSON.
    #[error(
        "{0} is not a valid JSON file, so it was left alone: repair it, or choose the engine by `{choose}`",
        choose = in_this_shell("")
    )]
    Invalid(PathBuf),
    /// Somebody else's.
    #[error(
        "The docker context `{name}` leads to {endpoint} and is not ours, so it was left alone: \
         remove it by `docker context rm -f {name}`, or choose the engine by `{choose}`",
        choose = in_this_shell("")
    )]
    Foreign {
        /// Its name.
        name: String,
        /// Where it leads.
        endpoint: String,
    },
}

/// The context of one profile.
#[derive(Debug)]
pub struct Context {
    name: String,
    docker_host: String,
    files: DockerFiles,
    previous: PathBuf,
    proxy_note: PathBuf,
}

impl Context {
    /// In the docker configuration that the environment names.
    pub fn of(profile: &Profile) -> Result<Context, ContextError> {
        Ok(Context::at(DockerFiles::from_env()?, profile))
    }

    /// In the docker configuration `files`.
    pub fn at(files: DockerFiles, profile: &Profile) -> Context {
        let (name, previous) = (profile.name().context(), profile.previous_context());
        let proxy_note = profile.container_proxies();
        Context { docker_host: profile.docker_host(), files, previous, proxy_note, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it exists and leads to our profile.
    pub fn exists(&self) -> Result<bool, ContextError> {
        Ok(self.there()?.is_some_and(|known| known.host == self.docker_host))
    }

    /// The current context's name, as far as the file says.
    pub fn current(&self) -> Result<String, ContextError> {
        self.files.current()
    }

    /// Creates it if it is not there; refuses if there is another of its name.
    pub fn create(&self) -> Result<(), ContextError> {
        match self.there()? {
            Some(known) if known.host == self.docker_host => return Ok(()),
            Some(known) if is_ruin(&known) => (),
            Some(known) => return Err(ContextError::Foreign { name: self.name.clone(), endpoint: known.host }),
            None => (),
        }
        let meta = serde_json::json!({
            "Name": self.name,
            "Metadata": { "Description": DESCRIPTION },
            "Endpoints": { "docker": { "Host": self.docker_host, "SkipTLSVerify": false } },
        });
        let dir = self.files.meta_dir(&self.name);
        let path = dir.join("meta.json");
        let write = || {
            // A `~/.docker` that nobody had yet is as private as the docker CLI makes it.
            sys_files::create_private_dir(&dir)?;
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
        self.files.make_current(Some(&self.name))
    }

    /// Takes our proxies away; if it is the current one, makes the one current that was so before, as long as that exists.
    pub fn deactivate(&self) -> Result<(), ContextError> {
        self.give_proxies(None)?;
        let previous = fs::read_to_string(&self.previous).unwrap_or_default();
        // One that was removed behind our back is still current by name.
        let ours = self.there()?.is_none_or(|known| known.host == self.docker_host);
        if self.current()? == self.name && ours {
            let known = previous != self.name && self.files.context(&previous).is_ok_and(|known| known.is_some());
            self.files.make_current(known.then_some(previous.as_str()))?;
        }
        self.bequeath(&previous);
        // Of no use any more; if it stays, it is overwritten the next time.
        let _ = fs::remove_file(&self.previous);
        Ok(())
    }

    /// Another profile that was made current after this one must not give the docker CLI back to it.
    fn bequeath(&self, previous: &str) {
        let siblings = self.previous.parent().and_then(Path::parent).map(fs::read_dir);
        let Some(name) = self.previous.file_name() else { return };
        for entry in siblings.into_iter().flatten().flatten().flatten() {
            let path = entry.path().join(name);
            if path != self.previous && fs::read_to_string(&path).is_ok_and(|text| text == self.name) {
                // If that fails, this profile's context is current again one day: one word of the user's puts it right.
                let _ = replace(&path, previous.as_bytes());
            }
        }
    }

    /// Removes it, if it is ours.
    pub fn remove(&self) -> Result<(), ContextError> {
        self.deactivate()?;
        if !self.exists()? {
            return Ok(());
        }
        let dir = self.files.meta_dir(&self.name);
        let path = dir.join("meta.json");
        fs::remove_file(&path).map_err(|source| ContextError::Io { path, source })?;
        // What else somebody has put there keeps it.
        let _ = fs::remove_dir(&dir);
        Ok(())
    }

    /// Variables that make the docker CLI ignore the current context, with their values.
    pub fn overrides(&self) -> Option<String> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // The docker CLI asks them in this order, and the first one that is set decides.
        if let Some(host) = set("DOCKER_HOST") {
            return (host != self.docker_host).then(|| format!("DOCKER_HOST={host}"));
        }
        let named = set("DOCKER_CONTEXT").filter(|context| *context != self.name)?;
        Some(format!("DOCKER_CONTEXT={named}"))
    }

    /// The context of this name, whoever made it; `None` if there is none.
    fn there(&self) -> Result<Option<Known>, ContextError> {
        self.files.context(&self.name)
    }
}

/// Whether a context was made for a lighter home that has been removed since, so that it is in nobody's use.
fn is_ruin(known: &Known) -> bool {
    let Some(socket) = known.host.strip_prefix("unix://").map(Path::new) else { return false };
    // A short directory below /tmp comes and goes with the machine and says nothing about the home.
    known.description == DESCRIPTION
        && !socket.starts_with(home::short_root())
        && socket.parent().is_some_and(|dir| matches!(dir.try_exists(), Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Home, ProfileName};

    /// A home and docker's folder, for the tests of this room.
    pub(super) struct Place {
        pub(super) dir: tempfile::TempDir,
        pub(super) context: Context,
    }

    impl Place {
        fn profile(&self, name: &str) -> Context {
            let profile = Home::at(&self.dir.path().join("home")).unwrap().profile(ProfileName::new(name).unwrap());
            profile.prepare().unwrap();
            Context::at(DockerFiles::at(&self.docker()), &profile)
        }
        fn docker(&self) -> PathBuf {
            self.dir.path().join("docker")
        }
        pub(super) fn config(&self) -> PathBuf {
            self.docker().join("config.json")
        }
        /// A context as the docker CLI writes it.
        fn foreign(&self, name: &str, host: &str, description: &str) {
            let dir = DockerFiles::at(&self.docker()).meta_dir(name);
            fs::create_dir_all(&dir).unwrap();
            let meta = serde_json::json!({
                "Name": name, "Metadata": {"Description": description}, "Endpoints": {"docker": {"Host": host}},
            });
            fs::write(dir.join("meta.json"), meta.to_string()).unwrap();
        }
    }

    pub(super) fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let profile = Home::at(&dir.path().join("home")).unwrap().profile(ProfileName::new("default").unwrap());
        profile.prepare().unwrap();
        fs::create_dir(dir.path().join("docker")).unwrap();
        let context = Context::at(DockerFiles::at(&dir.path().join("docker")), &profile);
        Place { dir, context }
    }

    #[cfg(unix)]
    #[test]
    fn c9_a_linked_config_stays_a_link_and_keeps_its_mode() {
        let place = place();
        let real = place.dir.path().join("real.json");
        fs::write(&real, "{\"psFormat\": \"x\"}").unwrap();
        let mut permissions = fs::metadata(&real).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&real, permissions.clone()).unwrap();
        let link = place.config();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        place.context.activate().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{\"currentContext\": \"lighter\",\"psFormat\": \"x\"}");
        assert_eq!(fs::metadata(&real).unwrap().permissions(), permissions);
    }

    #[cfg(unix)]
    #[test]
    fn c9_a_config_that_is_a_dangling_link_stays_a_link_and_the_file_appears_where_it_leads() {
        let place = place();
        let real = place.dir.path().join("dotfiles.json");
        std::os::unix::fs::symlink(&real, place.config()).unwrap();
        place.context.activate().unwrap();
        assert!(place.config().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("lighter"));
        // Where even the directory is away, nothing is replaced.
        fs::remove_file(place.config()).unwrap();
        std::os::unix::fs::symlink("/nonexistent/dotfiles.json", place.config()).unwrap();
        assert!(matches!(place.context.activate(), Err(ContextError::Io { .. })));
        assert!(place.config().is_symlink());
    }

    #[test]
    fn c9_a_broken_config_is_left_alone() {
        let place = place();
        let config = place.config();
        fs::write(&config, "{\"auths\": ").unwrap();
        assert!(matches!(place.context.activate(), Err(ContextError::Invalid(_))));
        assert_eq!(fs::read_to_string(&config).unwrap(), "{\"auths\": ");
    }

    #[cfg(unix)]
    #[test]
    fn c6_a_docker_directory_that_cannot_be_written_is_named_with_a_way_out() {
        let place = place();
        fs::remove_dir(place.docker()).unwrap();
        // Not even root may write there.
        std::os::unix::fs::symlink("/proc/self", place.docker()).unwrap();
        let error = place.context.activate().unwrap_err().to_string();
        assert!(error.contains("docker/contexts") && error.contains("lighter env"), "{error}");
    }

    #[test]
    fn c9_a_previous_context_that_is_gone_gives_way_to_the_default() {
        let place = place();
        fs::write(place.config(), "{\"currentContext\": \"gone\"}").unwrap();
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
        fs::write(place.config(), "{\"currentContext\": \"mine\"}").unwrap();
        place.context.remove().unwrap();
        assert_eq!(place.context.current().unwrap(), "mine");
        assert!(!place.context.exists().unwrap());
    }

    #[test]
    fn c9_what_was_current_comes_back_whatever_the_order_in_which_two_profiles_stop() {
        for first_to_stop in ["default", "work"] {
            let place = place();
            place.foreign("desktop-linux", "unix:///desktop.sock", "");
            fs::write(place.config(), "{\"currentContext\": \"desktop-linux\"}").unwrap();
            let (one, other) = (place.profile("default"), place.profile("work"));
            one.activate().unwrap();
            other.activate().unwrap();
            let [first, last] = if first_to_stop == "default" { [&one, &other] } else { [&other, &one] };
            first.deactivate().unwrap();
            assert_eq!(last.current().unwrap(), last.name(), "{first_to_stop} stopped first");
            last.deactivate().unwrap();
            assert_eq!(last.current().unwrap(), "desktop-linux", "{first_to_stop} stopped first");
        }
    }

    #[test]
    fn c9_a_current_context_whose_files_are_gone_is_given_back_too() {
        let place = place();
        place.foreign("colima", "unix:///colima.sock", "");
        fs::write(place.config(), "{\"currentContext\": \"colima\"}").unwrap();
        place.context.activate().unwrap();
        fs::remove_dir_all(place.docker().join("contexts/meta").join(place.context.files.meta_dir("lighter"))).unwrap();
        place.context.remove().unwrap();
        assert_eq!(place.context.current().unwrap(), "colima");
    }

    #[test]
    fn c9_another_engines_context_of_our_name_stays_and_a_ruin_of_lighter_is_built_over() {
        let place = place();
        let gone = place.dir.path().join("old-home/default/docker.sock");
        let gone = format!("unix://{}", gone.display());
        let short = format!("unix://{}/0123456789abcdef/docker.sock", home::short_root().display());
        for (host, description) in [
            ("tcp://127.0.0.1:2375", ""),
            (gone.as_str(), "Mine"),
            ("unix:///tmp/docker.sock", DESCRIPTION),
            (short.as_str(), DESCRIPTION),
        ] {
            place.foreign("lighter", host, description);
            assert!(matches!(place.context.activate(), Err(ContextError::Foreign { .. })), "{host}");
            place.context.remove().unwrap();
            assert_eq!(place.context.there().unwrap().unwrap().host, host);
        }
        place.foreign("lighter", &gone, DESCRIPTION);
        place.context.activate().unwrap();
        assert!(place.context.exists().unwrap());
        assert_eq!(place.context.current().unwrap(), "lighter");
    }

    #[test]
    fn c9_removing_leaves_what_others_have_put_beside_it() {
        let place = place();
        place.context.create().unwrap();
        let dir = DockerFiles::at(&place.docker()).meta_dir("lighter");
        fs::write(dir.join("note"), "precious").unwrap();
        place.context.remove().unwrap();
        assert_eq!(fs::read_to_string(dir.join("note")).unwrap(), "precious");
        assert!(!place.context.exists().unwrap());
    }
}
