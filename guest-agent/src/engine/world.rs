//! The user's network as dockerd sees it: proxies in its environment, registries among its arguments, and the certificates
//! that the host trusts in a file. The builder lives in dockerd, so it sees the same. Called by `engine` and `dockerd`.

use std::fs;
use std::path::Path;
use std::process::Command;

use lighter_protocol::{EngineSettings, paths};

/// What every start of dockerd gets.
#[derive(Debug)]
pub struct World {
    settings: EngineSettings,
    /// Whether the host's certificates could be written down.
    trusts_host: bool,
}

impl World {
    /// Writes the certificates where dockerd will look for them. An engine that trusts less than it should is better than none.
    pub fn settle(settings: &EngineSettings, certificates: &str) -> World {
        World::at(settings, certificates, Path::new(paths::CERTIFICATES))
    }

    fn at(settings: &EngineSettings, certificates: &str, path: &Path) -> World {
        let written = if certificates.is_empty() { None } else { Some(fs::write(path, certificates)) };
        if let Some(Err(error)) = &written {
            tracing::error!(%error, "the host's certificates could not be written");
        }
        // Text with a zero byte can be no argument, and one such would keep dockerd from starting.
        let mut settings = settings.clone();
        settings.registry_mirrors.retain(|text| !text.contains('\0'));
        settings.insecure_registries.retain(|text| !text.contains('\0'));
        World { settings, trusts_host: matches!(written, Some(Ok(()))) }
    }

    /// Gives a command of dockerd what it has to know.
    pub fn dress(&self, command: &mut Command) {
        for (name, value) in self.settings.proxies.variables().filter(|(_, value)| !value.contains('\0')) {
            command.env(name, value);
        }
        for mirror in &self.settings.registry_mirrors {
            command.arg(format!("--registry-mirror={mirror}"));
        }
        for registry in &self.settings.insecure_registries {
            command.arg(format!("--insecure-registry={registry}"));
        }
        if self.trusts_host {
            // Go reads this file and those in that folder. A host that lacks a root, as a Windows that has not met it yet,
            // must not make the image's own bundle disappear.
            command.env("SSL_CERT_FILE", paths::CERTIFICATES).env("SSL_CERT_DIR", paths::IMAGE_CERTIFICATES);
        }
    }
}

#[cfg(test)]
mod tests {
    use lighter_protocol::Proxies;

    use super::*;

    fn dressed(world: &World) -> (Vec<String>, Vec<String>) {
        let mut command = Command::new("dockerd");
        command.env_clear();
        world.dress(&mut command);
        let arguments = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let environment = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy())));
        (arguments, environment.collect())
    }

    #[test]
    fn dockerd_gets_proxies_registries_and_trust_and_nothing_where_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certificates.pem");
        let nothing = World::at(&EngineSettings::default(), "", &path);
        assert_eq!(dressed(&nothing), (vec![], vec![]));
        assert!(!path.exists());
        let settings = EngineSettings {
            proxies: Proxies { https: Some("http://p:1".into()), no_proxy: Some("localhost".into()), http: None },
            registry_mirrors: vec!["https://m".into(), "http://a\0b".into()],
            insecure_registries: vec!["r:5000".into()],
            certificate_frames: 1,
        };
        let (arguments, environment) = dressed(&World::at(&settings, "PEM", &path));
        assert_eq!(arguments, ["--registry-mirror=https://m", "--insecure-registry=r:5000"]);
        for wanted in [
            "HTTPS_PROXY=http://p:1",
            "https_proxy=http://p:1",
            "NO_PROXY=localhost",
            "SSL_CERT_FILE=/run/lighter/host-certificates.pem",
            "SSL_CERT_DIR=/etc/ssl/certs",
        ] {
            assert!(environment.iter().any(|have| have == wanted), "{wanted} is not in {environment:?}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "PEM");
    }

    #[test]
    fn certificates_that_cannot_be_written_do_not_hide_those_of_the_image() {
        let world = World::at(&EngineSettings::default(), "PEM", Path::new("/nonexistent/certificates.pem"));
        assert_eq!(dressed(&world), (vec![], vec![]));
    }
}
